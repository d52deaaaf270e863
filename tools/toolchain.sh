# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Sourced. Finds the Rust toolchain, the sources of its standard library and
# bindgen. Sets RUSTC, RUST_LIB_SRC, BINDGEN, and MAKE_KERNEL, which is make with
# all of them. toolchain_find downloads nothing and leaves a missing part empty;
# toolchain_ready fetches it.

RUSTC=${RUSTC:-rustc}
# The kernel crate needs this version of bindgen or a later one.
BINDGEN_MIN=0.71
BINDGEN_DIR=$CACHE/bindgen

# The sources next to the compiler (rustup, Debian), else those of the cache.
find_rust_lib_src()
{
	local version sysroot dir
	[ -z "${RUST_LIB_SRC:-}" ] || return 0
	version=$("$RUSTC" --version | cut -d' ' -f2)
	sysroot=$("$RUSTC" --print sysroot)
	for dir in "$sysroot/lib/rustlib/src/rust/library" \
		"/usr/src/rustc-$version/library" \
		"/usr/lib/rustlib/src/rust/library" \
		"$CACHE/rust-src-$version/usr/src/rustc-$version/library"; do
		if [ -f "$dir/core/src/lib.rs" ]; then
			RUST_LIB_SRC=$dir
			return 0
		fi
	done
	RUST_LIB_SRC=
}

# bindgen_works PROGRAM: whether it starts, and is new enough.
bindgen_works()
{
	local version
	version=$("$1" --version 2>/dev/null | cut -d' ' -f2)
	[ -n "$version" ] && printf '%s\n' "$BINDGEN_MIN" "$version" | sort -V -C
}

find_bindgen()
{
	local program
	[ -z "${BINDGEN:-}" ] || return 0
	for program in /usr/bin/bindgen "$BINDGEN_DIR/bindgen" \
		"$CACHE/cargo/bin/bindgen" "${CARGO_HOME:-$HOME/.cargo}/bin/bindgen"; do
		if bindgen_works "$program"; then
			BINDGEN=$program
			return 0
		fi
	done
	BINDGEN=
}

toolchain_find()
{
	export LIBCLANG_PATH=$LLVM_BIN/../lib
	find_rust_lib_src
	find_bindgen
	export RUSTC RUST_LIB_SRC BINDGEN
	MAKE_KERNEL=(make "LLVM=$LLVM_BIN/" "RUSTC=$RUSTC" "BINDGEN=$BINDGEN"
		"RUST_LIB_SRC=$RUST_LIB_SRC" -j"$JOBS")
}

fetch_rust_lib_src()
{
	local version
	[ -z "$RUST_LIB_SRC" ] || return 0
	version=$("$RUSTC" --version | cut -d' ' -f2)
	"$TOP/tools/archive.sh" "$CACHE/rust-src-$version" "rust-src=$version*" ||
		die "rustc $version has no library sources here, and no archive has" \
		    "Debian's rust-src of that version: install them" \
		    "(rustup component add rust-src) or pass RUST_LIB_SRC="
}

# Debian 12's bindgen is too old. That of a later suite runs here with the C
# library of its suite, and downloads in seconds; building it with cargo takes
# more than a minute, and is what remains where the archives have neither.
fetch_bindgen()
{
	[ -z "$BINDGEN" ] || return 0
	if "$TOP/tools/archive.sh" "$BINDGEN_DIR" bindgen libc6; then
		cat >"$BINDGEN_DIR/bindgen" <<-EOT
		#!/bin/sh
		exec "$BINDGEN_DIR/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
			--library-path "$BINDGEN_DIR/usr/lib/x86_64-linux-gnu" \
			"$BINDGEN_DIR/usr/bin/bindgen" "\$@"
		EOT
		chmod 755 "$BINDGEN_DIR/bindgen"
		! bindgen_works "$BINDGEN_DIR/bindgen" || return 0
	fi
	step "build bindgen" cargo install --locked --root "$CACHE/cargo" \
		bindgen-cli@0.73.2
}

toolchain_ready()
{
	toolchain_find
	if [ -z "$RUST_LIB_SRC" ] || [ -z "$BINDGEN" ]; then
		together fetch_rust_lib_src fetch_bindgen
		toolchain_find
	fi
}

# The versions that decide whether a kernel must be built anew.
toolchain_key()
{
	"$RUSTC" --version
	"$LLVM_BIN/clang" --version 2>/dev/null | head -n 1
}
