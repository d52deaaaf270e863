#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Makes out/initramfs.cpio, the guest's whole system: busybox, kexec, the
# module, the test programs, the scenarios and the guest's init. "initramfs.sh
# bench" makes out/bench.cpio, which has the benchmark in place of the tests and
# is small, because every kexec reads it. Does nothing when none of its inputs
# has changed.

. "$(dirname "$0")/common.sh"

WHAT=${1:-initramfs}
IMAGE=$OUT/$WHAT.cpio
BUSYBOX=$(command -v busybox || true)
KEXEC=$(PATH=$PATH:/sbin:/usr/sbin command -v kexec || true)

[ -n "$BUSYBOX" ] || die "no busybox: install busybox-static"
[ -n "$KEXEC" ] || die "no kexec: install kexec-tools"

# libraries_of PROGRAM: the shared libraries and the loader it needs.
libraries_of()
{
	ldd "$1" 2>/dev/null | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p'
}

inputs()
{
	local what=("$TOP/selftests/scenarios" "$OUT/selftests"
		"$OUT/module-test/liveupdate.ko")
	[ "$WHAT" != bench ] || what=("$TOP/bench/guest.sh" "$OUT/bench")
	find "${what[@]}" "$TOP/qemu/guest" "$OUT/module/liveupdate.ko" "$BUSYBOX" "$KEXEC" "$0" \
		-type f -printf '%p %s %T@\n' 2>/dev/null | sort || true
}

assemble()
{
	local root=$OUT/$WHAT.root lib applet
	rm -rf "$root"
	mkdir -p "$root"/{bin,sbin,lib,lib64,selftests,scenarios} \
		"$root"/{dev,proc,sys,tmp,host,root,run}
	cp "$BUSYBOX" "$root/bin/busybox"
	for applet in $("$BUSYBOX" --list); do
		[ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
	done
	cp "$KEXEC" "$root/sbin/kexec"
	for lib in $(libraries_of "$KEXEC"); do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
	if [ "$WHAT" = bench ]; then
		cp "$OUT/bench/bench" "$root/bench"
		cp "$TOP/bench/guest.sh" "$root/scenarios/bench.sh"
	else
		cp -r "$OUT/selftests/." "$root/selftests/"
		find "$root/selftests" '(' -name '*.o' -o -name '*.d' ')' -delete
		cp "$TOP"/selftests/scenarios/*.sh "$root/scenarios/"
	fi
	cp "$TOP/qemu/guest/init" "$root/init"
	cp "$TOP/qemu/guest/guest.sh" "$root/lib/guest.sh"
	chmod 755 "$root/init"
	if [ -f "$OUT/module/liveupdate.ko" ]; then
		strip --strip-debug -o "$root/lib/liveupdate.ko" \
			"$OUT/module/liveupdate.ko"
	fi
	if [ "$WHAT" != bench ] && [ -f "$OUT/module-test/liveupdate.ko" ]; then
		strip --strip-debug -o "$root/lib/liveupdate-test.ko" \
			"$OUT/module-test/liveupdate.ko"
	fi
	(cd "$root" && find . | LC_ALL=C sort |
		cpio --quiet -o -H newc -R 0:0) >"$IMAGE.new"
	mv "$IMAGE.new" "$IMAGE"
}

mkdir -p "$OUT/selftests" "$OUT/bench"
exec 8>"$IMAGE.lock"
flock 8
key=$(inputs | hash_of)
if [ ! -f "$IMAGE" ] || [ "$(cat "$IMAGE.key" 2>/dev/null)" != "$key" ]; then
	step "make the initramfs" assemble
	echo "$key" >"$IMAGE.key"
fi
