#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds what runs on a kernel: the module, the module with its test hooks, the
# module that forges state, modules with handlers, the selftests (the kernel's and
# ours), and the programs of userspace/ that test its crates.
#
# build.sh module | module-test | forge | handlers | selftests | userspace
#                             one of these parts
# build.sh module-clippy      the module with clippy's checks (LIVEUPDATE_TEST=1
#                             for the module with test hooks)
# build.sh prepare [demo]     all parts for the default kernel, and the initramfs;
#                             "demo": only what the demo needs
# build.sh ready KERNEL [vmm] another kernel, its modules, and the initramfs ("vmm":
#                             that of virtual machines, without test modules); the
#                             exit status is 77 if no archive has its source
# build.sh vmm                the virtual machine monitor, and the initramfs for it
# build.sh bench              the benchmark and both of its kernels
# build.sh kernel NAME        print the path of a boot image; builds nothing
# build.sh source | paths     print the kernel source, or all paths; builds nothing
# build.sh rust-analyzer      rust-project.json, for an editor
# build.sh remove-cache       remove kernels, sources and tools
#
# KDIR= (a built, patched kernel tree) replaces the default kernel of the cache.

. "$(dirname "$0")/../tools/common.sh"
. "$TOP/tools/toolchain.sh"
. "$TOP/qemu/module.sh"

PEER_KERNEL=c-7.3
DEBUG_KERNEL=debug-7.3
NO_SOURCE=77

# lock_out: two builds at a time would write to the same files of out/.
lock_out()
{
	mkdir -p "$OUT"
	exec 9>"$OUT/build.lock"
	flock 9
}

# The kernel's selftest directory is copied, because its makefile writes objects
# beside the sources, and those may be the user's own.
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
		LDFLAGS=-s -j"$JOBS"
	make -C "$TOP/selftests" KSRC="$copy" OUTPUT="$OUT/selftests/ours" \
		KHDR_INCLUDES="$khdr" LDFLAGS=-s -j"$JOBS" \
		${only:+"$OUT/selftests/ours/$only"}
}

build_selftests()
{
	step "build selftests" make_selftests "$(source_dir)" "$@"
}

# make_userspace: in release mode, because the guest copies its programs in every
# kexec.
make_userspace()
{
	CARGO_TARGET_DIR=$OUT/userspace-target cargo build --release --locked -j"$JOBS" \
		--manifest-path "$TOP/userspace/Cargo.toml" \
		-p liveupdate-guest-tests -p liveupdate --all-features --bins --examples
	CARGO_TARGET_DIR=$OUT/userspace-target cargo build --profile small --locked \
		-j"$JOBS" --manifest-path "$TOP/userspace/Cargo.toml" -p lu -p lud \
		--features lud/test-points
	mkdir -p "$OUT/userspace"
	cp -p "$OUT"/userspace-target/release/{crate_stages,lud_client,examples/agent} \
		"$OUT"/userspace-target/small/{lu,lud,lud-supervisor} \
		"$TOP"/userspace/lud/systemd/lud.{service,socket} "$OUT/userspace/"
}

build_userspace()
{
	step "build userspace" make_userspace
}

# make_vmm: optimized for size, because the pause of a guest includes reading it.
make_vmm()
{
	CARGO_TARGET_DIR=$OUT/userspace-target cargo build --profile small --locked \
		-j"$JOBS" --manifest-path "$TOP/userspace/Cargo.toml" -p vmm
	mkdir -p "$OUT/vmm"
	cp -p "$OUT/userspace-target/small/vmm" "$OUT/vmm/"
}

build_vmm()
{
	step "build the virtual machine monitor" make_vmm
}

# The handlers are linked with the module.
build_handlers_alone()
{
	build_default_module
	build_handlers
}

build_demo_program()
{
	build_selftests demo
}

make_bench()
{
	mkdir -p "$OUT/bench"
	# The kernel's headers first: its UAPI is newer than the C library's.
	gcc -O2 -Wall -Wextra -Werror -Wno-unused-parameter -pthread -static -s \
		-I"$TOP/selftests" -isystem "$(built_dir "$DEFAULT_KERNEL")/usr/include" \
		-o "$OUT/bench/bench" "$TOP"/bench/*.c "$TOP"/selftests/lib/{frames,luo,pressure}.c
}

install_packages()
{
	"$TOP/tools/packages.sh"
}

# fetch_source: while packages are being installed, if the machine has the programs
# that it needs. The build fetches the source if this fails.
fetch_source()
{
	if [ -z "${KDIR:-}" ] && command -v xz >/dev/null && command -v patch >/dev/null &&
		command -v rustc >/dev/null; then
		"$TOP/qemu/kernel.sh" fetch "$DEFAULT_KERNEL" || true
	fi
}

prepare()
{
	together install_packages fetch_source
	kernel_ready
	lock_out
	if [ "${1:-}" = demo ]; then
		together build_default_module build_demo_program
	else
		together build_default_module build_test_module build_forge
		build_handlers
		build_upstream_flb
		build_selftests
		build_userspace
		build_vmm
		"$TOP/qemu/initramfs.sh" vmm
	fi
	"$TOP/qemu/initramfs.sh"
}

# ready KERNEL [vmm]: leave a note for the runner if the source is in no archive.
ready()
{
	local name=$1 image=${2:-initramfs} status=0 note=$OUT/kernels/$1.missing
	mkdir -p "$OUT/kernels"
	rm -f "$note"
	"$TOP/qemu/kernel.sh" build "$name" || status=$?
	if [ "$status" -eq "$NO_SOURCE" ]; then
		say "SKIPPED: kernel $name and every scenario that boots it: no archive has its source"
		echo "no archive has its source" >"$note"
	fi
	[ "$status" -eq 0 ] || exit "$status"
	lock_out
	if takes_module "$name"; then
		build_liveupdate "$name"
		[ "$image" = vmm ] || build_handlers "$name"
	fi
	[ "$name" != "$DEBUG_KERNEL" ] || build_debug_modules
	"$TOP/qemu/initramfs.sh" "$image"
}

vmm()
{
	together install_packages fetch_source
	kernel_ready
	lock_out
	build_default_module
	build_vmm
	"$TOP/qemu/initramfs.sh" vmm
}

bench()
{
	"$TOP/tools/packages.sh" gnuplot-nox
	kernel_ready
	"$TOP/qemu/kernel.sh" build "$PEER_KERNEL"
	lock_out
	build_default_module
	step "build the benchmark" make_bench
	"$TOP/qemu/initramfs.sh" bench
}

# Only what is known to be ours, whatever LIVEUPDATE_CACHE says.
remove_cache()
{
	local name
	for name in apt bindgen cargo deb kernels src venv; do
		rm -rf "${CACHE:?}/$name"
	done
	rm -rf "${CACHE:?}"/rust-src-* "${CACHE:?}"/objects-* \
		"${CACHE:?}/kernels.lock"
	rmdir "$CACHE" 2>/dev/null || true
}

print_paths()
{
	echo "KSRC=$(source_dir)"
	echo "KDIR=$(built_dir "$DEFAULT_KERNEL")"
	echo "KERNEL=$(image "$DEFAULT_KERNEL")"
	echo "MODULE=$OUT/module/liveupdate.ko"
	echo "SELFTESTS=$OUT/selftests"
	echo "PEER=$(image "$PEER_KERNEL")"
	echo "KERNEL_7_2=$(image rust-7.2)"
	echo "MODULE_7_2=$OUT/$(module_of rust-7.2)/liveupdate.ko"
}

# with_kernel FUNCTION: build the default kernel first, then run it alone.
with_kernel()
{
	kernel_ready
	lock_out
	"$@"
}

case "${1:-}" in
module) with_kernel build_default_module ;;
module-test) with_kernel build_test_module ;;
module-clippy) with_kernel run_clippy ;;
forge) with_kernel build_forge ;;
handlers) with_kernel build_handlers_alone ;;
rust-analyzer) with_kernel make_rust_project ;;
selftests) with_kernel build_selftests ;;
userspace)
	lock_out
	build_userspace
	;;
prepare) prepare "${2:-}" ;;
vmm) vmm ;;
bench) bench ;;
remove-cache) remove_cache ;;
source) source_dir ;;
paths) print_paths ;;
ready)
	[ $# -ge 2 ] || die "usage: build.sh ready NAME [vmm]"
	ready "$2" "${3:-}"
	;;
kernel)
	[ $# -eq 2 ] || die "usage: build.sh kernel NAME"
	image "$2"
	;;
*)
	sed -n 's/^# \(build\.sh .*\)/\1/p' "$0" >&2
	exit 1
	;;
esac
