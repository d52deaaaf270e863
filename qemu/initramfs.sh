#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# initramfs.sh [bench|vmm]
#
# Makes out/initramfs.cpio, the guest's whole system: busybox, kexec, the
# modules, the test programs, the scenarios and the guest's init. Does nothing
# if no input has changed.
#
# A kexec reads, hashes and copies the image, and the guest's memory holds it a few
# times over. So "bench" makes out/bench.cpio, with the benchmark and no selftests. "vmm"
# makes out/vmm.cpio, with the virtual machine monitor, what its guests boot, and no
# selftests: the pause of a guest includes reading this image.

. "$(dirname "$0")/../tools/common.sh"

WHAT=${1:-initramfs}
VMM=$OUT/vmm/vmm
IMAGE=$OUT/$WHAT.cpio
BUSYBOX=$(command -v busybox || true)
KEXEC=$(PATH=$PATH:/sbin:/usr/sbin command -v kexec || true)

[ -n "$BUSYBOX" ] || die "no busybox: install busybox-static"
[ -n "$KEXEC" ] || die "no kexec: install kexec-tools"

# libraries_of PROGRAM...: the shared libraries and the loaders that they need.
libraries_of()
{
	ldd "$@" 2>/dev/null | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u
}

# inputs: name, size and time of each file that goes into the image.
inputs()
{
	local what=("$TOP/selftests/scenarios" "$OUT/selftests" "$OUT/userspace"
		"$OUT"/forge*/forge.ko "$OUT"/upstream-flb/upstream_flb.ko)
	local name
	for name in $HANDLERS; do
		what+=("$OUT/$name"{,-*}/*.ko)
	done
	[ "$WHAT" != bench ] || what=("$TOP/bench/guest.sh" "$OUT/bench")
	[ "$WHAT" != vmm ] || what=("$TOP/selftests/scenarios" "$VMM")
	find "${what[@]}" "$TOP/qemu/guest" "$OUT"/module*/liveupdate*.ko \
		"$BUSYBOX" "$KEXEC" "$0" \
		-type f -printf '%p %s %T@\n' 2>/dev/null | sort || true
}

assemble()
{
	local root=$OUT/$WHAT.root lib applet file folder kernel name programs=()
	rm -rf "$root"
	mkdir -p "$root"/{bin,sbin,lib,lib64,selftests,scenarios} \
		"$root"/{dev,proc,sys,tmp,host,root,run}
	cp "$BUSYBOX" "$root/bin/busybox"
	for applet in $("$BUSYBOX" --list); do
		[ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
	done
	cp "$KEXEC" "$root/sbin/kexec"
	if [ "$WHAT" = bench ]; then
		cp "$OUT/bench/bench" "$root/bench"
		cp "$TOP/bench/guest.sh" "$root/scenarios/bench.sh"
	elif [ "$WHAT" = vmm ]; then
		cp "$VMM" "$root/bin/vmm"
		cp "$TOP"/selftests/scenarios/vm*.sh "$root/scenarios/"
		cp "$TOP/selftests/scenarios/vm_guest" "$root/lib/"
		programs=("$VMM")
	else
		cp -r "$OUT/selftests/." "$root/selftests/"
		cp -r "$OUT/userspace" "$root/"
		find "$root/selftests" '(' -name '*.o' -o -name '*.d' ')' -delete
		cp "$TOP"/selftests/scenarios/*.sh "$root/scenarios/"
		programs=("$root"/{selftests/ours,userspace}/*)
	fi
	for lib in $(libraries_of "$KEXEC" "${programs[@]}"); do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
	cp "$TOP/qemu/guest/init" "$root/init"
	cp "$TOP/qemu/guest/guest.sh" "$TOP/qemu/guest/debug.sh" "$root/lib/"
	chmod 755 "$root/init"
	if [ -f "$OUT/module/liveupdate.ko" ]; then
		strip --strip-debug -o "$root/lib/liveupdate.ko" \
			"$OUT/module/liveupdate.ko"
	fi
	for file in "$OUT"/module/liveupdate_*.ko; do
		[ "$WHAT" = initramfs ] || continue
		[ -f "$file" ] || continue
		strip --strip-debug -o "$root/lib/${file##*/}" "$file"
	done
	if [ "$WHAT" = initramfs ] && [ -f "$OUT/module-test/liveupdate.ko" ]; then
		strip --strip-debug -o "$root/lib/liveupdate-test.ko" \
			"$OUT/module-test/liveupdate.ko"
	fi
	# The modules for another kernel are in a folder of its name.
	for file in "$OUT"/*-*-[0-9]*/*.ko; do
		[ -f "$file" ] || continue
		[ "$WHAT" != vmm ] || [ "${file##*/}" = liveupdate.ko ] || continue
		kernel=$(basename "${file%/*}")
		name=$(basename "$file" .ko)
		case "$kernel" in
		module-test-*) name=$name-test ;;
		esac
		kernel=${kernel#module-}
		kernel=${kernel#test-}
		for folder in forge $HANDLERS; do
			kernel=${kernel#"$folder-"}
		done
		mkdir -p "$root/lib/$kernel"
		strip --strip-debug -o "$root/lib/$kernel/$name.ko" "$file"
	done
	if [ "$WHAT" != vmm ] && [ -f "$OUT/forge/forge.ko" ]; then
		strip --strip-debug -o "$root/lib/forge.ko" "$OUT/forge/forge.ko"
	fi
	for name in $HANDLERS upstream-flb; do
		for file in "$OUT/$name"/*.ko; do
			if [ "$WHAT" = initramfs ] && [ -f "$file" ]; then
				strip --strip-debug -o "$root/lib/$(basename "$file")" \
					"$file"
			fi
		done
	done
	(cd "$root" && find . | LC_ALL=C sort |
		cpio --quiet -o -H newc -R 0:0) >"$IMAGE.new"
	mv "$IMAGE.new" "$IMAGE"
}

mkdir -p "$OUT/selftests" "$OUT/userspace" "$OUT/bench"
exec 8>"$IMAGE.lock"
flock 8
key=$(inputs | hash_of)
if [ ! -f "$IMAGE" ] || [ "$(cat "$IMAGE.key" 2>/dev/null)" != "$key" ]; then
	step "make the initramfs" assemble
	echo "$key" >"$IMAGE.key"
fi
