#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh module|module-test|forge|selftests|prepare|bench|paths|remove-cache|kernel NAME
#
# Builds what runs on a kernel: the module, the module with its test hooks, the
# module that forges state, the selftests (the kernel's and ours). "prepare" does
# all of it and the initramfs ("prepare demo": only what the demo needs, "prepare
# debug": the debug kernel as well); "bench" what the benchmark needs, with the
# kernel of the C peer; "paths" prints where
# things are and builds nothing; "kernel NAME" prints the boot image of a kernel
# of the table in "kernels". KDIR= (a built, patched kernel tree) takes the place
# of the kernel of the cache.

. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/toolchain.sh"

PEER_KERNEL=c-7.3
DEBUG_KERNEL=debug-7.3

# The directory a kernel was built in.
built_dir()
{
	if [ -n "${KDIR:-}" ] && [ "$1" = "$DEFAULT_KERNEL" ]; then
		realpath -m "$KDIR"
	else
		"$TOP/qemu/kernel.sh" path "$1"
	fi
}

# The source of the default kernel.
source_dir()
{
	local dir
	if [ -n "${KDIR:-}" ]; then
		dir=$(realpath -m "$KDIR")
		if [ -e "$dir/source" ]; then
			realpath "$dir/source"
		else
			echo "$dir"
		fi
	else
		"$TOP/qemu/kernel.sh" source "$DEFAULT_KERNEL"
	fi
}

image()
{
	echo "$(built_dir "$1")/arch/x86/boot/bzImage"
}

# Build the kernel, or see whether the user's own will do.
kernel_ready()
{
	local dir symbol
	if [ -z "${KDIR:-}" ]; then
		"$TOP/qemu/kernel.sh" build "$DEFAULT_KERNEL"
		return
	fi
	dir=$(built_dir "$DEFAULT_KERNEL")
	[ -f "$dir/include/config/auto.conf" ] ||
		die "KDIR=$KDIR is not a configured and built kernel tree"
	[ -f "$dir/Module.symvers" ] ||
		die "KDIR=$KDIR has no Module.symvers: build that kernel first"
	for symbol in CONFIG_RUST CONFIG_KEXEC_HANDOVER CONFIG_MEMFD_CREATE; do
		grep -qx "$symbol=y" "$dir/include/config/auto.conf" ||
			die "the kernel in KDIR=$KDIR was built without $symbol=y"
	done
	for symbol in $(exported_symbols); do
		grep -qw "$symbol" "$dir/Module.symvers" ||
			die "the kernel in KDIR=$KDIR does not export $symbol:" \
			    "apply patches/*.patch to its source and build it again"
	done
}

# Those that only some scenarios boot, and the modules for them; the one for
# debugging too if "debug" is said. One whose source is not to be had any more is
# left out, and its scenarios are skipped.
other_kernels()
{
	local name status which=--no-debug
	[ "${1:-}" != debug ] || which=--debug
	mkdir -p "$OUT/kernels"
	for name in $("$TOP/qemu/run.py" --kernels "$which"); do
		[ "$name" != "$DEFAULT_KERNEL" ] || continue
		rm -f "$OUT/kernels/$name.missing"
		status=0
		"$TOP/qemu/kernel.sh" build "$name" || status=$?
		if [ "$status" -eq 77 ]; then
			say "SKIPPED: kernel $name, and all that boots it: no archive has its source"
			echo "no archive has its source" >"$OUT/kernels/$name.missing"
			continue
		fi
		[ "$status" -eq 0 ] || exit "$status"
		! takes_module "$name" || build_module "$(module_of "$name")" "$name"
		[ "$name" != "$DEBUG_KERNEL" ] || build_debug_modules
	done
}

# What else the debug kernel runs. The module must have the sanitizers of its
# kernel in both of its languages, or the tests there mean little.
build_debug_modules()
{
	local object
	build_module "module-test-$DEBUG_KERNEL" "$DEBUG_KERNEL" LIVEUPDATE_TEST=1
	build_module "forge-$DEBUG_KERNEL" "$DEBUG_KERNEL" M="$TOP/selftests/test_modules/forge"
	for object in liveupdate_rs.o kapi/helpers.o; do
		"$LLVM_BIN/llvm-nm" -u "$OUT/module-$DEBUG_KERNEL/$object" |
			grep __asan_ >/dev/null ||
			die "$object for $DEBUG_KERNEL was built without KASAN"
	done
}

takes_module()
{
	awk -v n="$1" '$1 == n { for (i = 3; i <= NF; i++) if ($i == "module") found = 1 }
		END { exit !found }' "$TOP/qemu/kernels"
}

# The folder of out/ with the module for a kernel.
module_of()
{
	if [ "$1" = "$DEFAULT_KERNEL" ]; then
		echo module
	else
		echo "module-$1"
	fi
}

# What patches/ exports.
exported_symbols()
{
	sed -n 's/^+EXPORT_SYMBOL[A-Z_]*(\([a-z_0-9]*\).*/\1/p' \
		"$TOP"/patches/*.patch
}

# make_module KERNEL [M=SOURCE] [VARIABLE=VALUE...]: ours, or one for tests.
make_module()
{
	local kernel=$1
	shift
	[ -f "$TOP/Kbuild" ] || die "no Kbuild here: there is no module to build"
	toolchain_ready
	"${MAKE_KERNEL[@]}" -C "$(built_dir "$kernel")" M="$TOP" "$@" modules
}

# build_module FOLDER KERNEL [VARIABLE=VALUE...]: into that folder of out/.
build_module()
{
	local what=$1 kernel=$2
	shift 2
	mkdir -p "$OUT/$what"
	step "build $what" make_module "$kernel" MO="$OUT/$what" "$@"
	if grep -q 'warning:' "$LOGS/build-$what.log"; then
		say "    with warnings, see $LOGS/build-$what.log"
	fi
}

# The kernel's selftest directory is copied, not changed: its makefile leaves
# objects beside the sources, and those may be the user's own.
copy_upstream()
{
	local src=$1 dst=$2
	mkdir -p "$dst/tools/testing/selftests" "$dst/tools/include" "$dst/scripts"
	cp -a "$src/scripts/subarch.include" "$dst/scripts/"
	cp -a "$src/tools/include/uapi" "$dst/tools/include/"
	(cd "$src/tools/testing/selftests" && cp -a lib.mk kselftest.h \
		kselftest_harness.h kselftest kselftest_harness liveupdate \
		"$dst/tools/testing/selftests/")
}

# make_selftests SOURCE [PROGRAM]: all of them, or one of ours.
make_selftests()
{
	local src=$1 only=${2:-} copy=$OUT/kselftest khdr
	khdr="-isystem $(built_dir "$DEFAULT_KERNEL")/usr/include"
	if [ ! -f "$copy/.done" ] || [ "$(cat "$copy/.done")" != "$src" ]; then
		rm -rf "$copy"
		copy_upstream "$src" "$copy"
		echo "$src" >"$copy/.done"
	fi
	mkdir -p "$OUT/selftests/upstream" "$OUT/selftests/ours"
	make -C "$copy/tools/testing/selftests/liveupdate" \
		OUTPUT="$OUT/selftests/upstream" KHDR_INCLUDES="$khdr" \
		LDFLAGS="-static -s" -j"$JOBS"
	make -C "$TOP/selftests" KSRC="$copy" OUTPUT="$OUT/selftests/ours" \
		KHDR_INCLUDES="$khdr" LDFLAGS="-static -s" -j"$JOBS" \
		${only:+"$OUT/selftests/ours/$only"}
}

build_selftests()
{
	kernel_ready
	step "build selftests" make_selftests "$(source_dir)" "$@"
}

make_bench()
{
	mkdir -p "$OUT/bench"
	# The kernel's headers first: its UAPI is newer than the C library's.
	gcc -O2 -Wall -Wextra -Werror -Wno-unused-parameter -pthread -static -s \
		-I"$TOP/selftests" -isystem "$(built_dir "$DEFAULT_KERNEL")/usr/include" \
		-o "$OUT/bench/bench" "$TOP"/bench/*.c "$TOP/selftests/lib/luo.c"
}

# Two builds at a time would write to the same files.
case "${1:-}" in
module* | forge | selftests | prepare | bench)
	mkdir -p "$OUT"
	exec 9>"$OUT/build.lock"
	flock 9
	;;
esac

case "${1:-}" in
module)
	kernel_ready
	build_module module "$DEFAULT_KERNEL"
	;;
module-test)
	kernel_ready
	build_module module-test "$DEFAULT_KERNEL" LIVEUPDATE_TEST=1
	;;
forge)
	kernel_ready
	build_module forge "$DEFAULT_KERNEL" M="$TOP/selftests/test_modules/forge"
	;;
module-clippy)
	kernel_ready
	mkdir -p "$OUT/module-clippy"
	rm -f "$OUT"/module-clippy/*.o
	make_module "$DEFAULT_KERNEL" MO="$OUT/module-clippy" CLIPPY=1
	;;
selftests)
	build_selftests
	;;
prepare)
	"$TOP/qemu/packages.sh"
	kernel_ready
	build_module module "$DEFAULT_KERNEL"
	# The demo can do without these, and should start soon.
	if [ "${2:-}" != demo ]; then
		build_module module-test "$DEFAULT_KERNEL" LIVEUPDATE_TEST=1
		build_module forge "$DEFAULT_KERNEL" M="$TOP/selftests/test_modules/forge"
		other_kernels "${2:-}"
		build_selftests
	else
		build_selftests demo
	fi
	"$TOP/qemu/initramfs.sh"
	;;
bench)
	"$TOP/qemu/packages.sh" gnuplot-nox
	kernel_ready
	build_module module "$DEFAULT_KERNEL"
	"$TOP/qemu/kernel.sh" build "$PEER_KERNEL"
	step "build the benchmark" make_bench
	"$TOP/qemu/initramfs.sh" bench
	;;
kernel)
	[ $# -eq 2 ] || die "usage: build.sh kernel NAME"
	image "$2"
	;;
remove-cache)
	# Only what is known to be ours, whatever LIVEUPDATE_CACHE says.
	for dir in apt cargo ccache deb kernels src; do
		rm -rf "${CACHE:?}/$dir"
	done
	rm -rf "${CACHE:?}"/rust-src-* "${CACHE:?}/kernels.lock"
	rmdir "$CACHE" 2>/dev/null || true
	;;
source)
	source_dir
	;;
paths)
	echo "KSRC=$(source_dir)"
	echo "KDIR=$(built_dir "$DEFAULT_KERNEL")"
	echo "KERNEL=$(image "$DEFAULT_KERNEL")"
	echo "MODULE=$OUT/module/liveupdate.ko"
	echo "SELFTESTS=$OUT/selftests"
	echo "PEER=$(image "$PEER_KERNEL")"
	echo "KERNEL_7_2=$(image rust-7.2)"
	echo "MODULE_7_2=$OUT/$(module_of rust-7.2)/liveupdate.ko"
	;;
*)
	die "usage: build.sh module|module-test|module-clippy|forge|selftests|prepare|bench|paths|source|remove-cache|kernel NAME"
	;;
esac
