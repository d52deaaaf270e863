# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Sourced. Finds the Rust toolchain, the sources of its standard library and
# bindgen, and sets RUSTC, RUST_LIB_SRC, BINDGEN, CLIPPY_DRIVER, RUSTFMT and
# MAKE_KERNEL (make with all of it). toolchain_ready fetches what is missing;
# without it, nothing is downloaded and a missing part stays empty.

RUSTC=${RUSTC:-rustc}

# The sources next to the compiler (rustup, Debian), else in the cache.
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

find_bindgen()
{
	local dir
	[ -z "${BINDGEN:-}" ] || return 0
	for dir in "$CACHE/cargo/bin" "${CARGO_HOME:-$HOME/.cargo}/bin" /usr/bin; do
		# Older ones cannot parse what the kernel crate needs.
		if [ -x "$dir/bindgen" ] &&
			printf '0.71\n%s\n' "$("$dir/bindgen" --version |
				cut -d' ' -f2)" | sort -V -C; then
			BINDGEN=$dir/bindgen
			return 0
		fi
	done
	BINDGEN=
}

toolchain_find()
{
	find_rust_lib_src
	find_bindgen
	export RUSTC RUST_LIB_SRC BINDGEN
	MAKE_KERNEL=(make "LLVM=$LLVM_BIN/" "RUSTC=$RUSTC" "BINDGEN=$BINDGEN"
		"RUST_LIB_SRC=$RUST_LIB_SRC" -j"$JOBS")
	# The kernels have most of their objects in common.
	if command -v ccache >/dev/null; then
		MAKE_KERNEL+=("CC=ccache $LLVM_BIN/clang")
		export CCACHE_DIR=$CACHE/ccache CCACHE_MAXSIZE=2G
	fi
	export LIBCLANG_PATH=$LLVM_BIN/../lib
}

toolchain_ready()
{
	local version
	toolchain_find
	version=$("$RUSTC" --version | cut -d' ' -f2)
	if [ -z "$RUST_LIB_SRC" ]; then
		"$TOP/qemu/archive.sh" "rust-src=$version*" "$CACHE/rust-src-$version" ||
			die "rustc $version has no library sources here, and Debian's" \
			    "rust-src of that version cannot be had: install them" \
			    "(rustup component add rust-src) or pass RUST_LIB_SRC="
	fi
	if [ -z "$BINDGEN" ]; then
		step "build bindgen" cargo install --locked --root "$CACHE/cargo" \
			bindgen-cli@0.73.2
	fi
	toolchain_find
}

# What of the toolchain decides whether a kernel must be built anew.
toolchain_key()
{
	"$RUSTC" --version
	"$LLVM_BIN/clang" --version 2>/dev/null | head -n 1
}
