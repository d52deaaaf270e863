# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# kexec_load(2) loads the next kernel: the image carries no state of KHO. While there
# is a session, the kexec is refused; without one it happens, as without the module.

got_nothing()
{
	if dmesg | grep -i 'found kexec handover data'; then
		return 1
	fi
	dmesg | grep 'liveupdate: live update 0, 0 incoming sessions'
}

load_module
if [ "$STAGE" = 1 ]; then
	KEXEC_LOAD=-c
	next_kernel
	export LUO_IMAGE_WITHOUT_KHO=1
	run image-without-kho /selftests/ours/image_without_kho
	go
else
	run got-nothing got_nothing
fi
