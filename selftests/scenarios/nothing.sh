# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The guest without the module: boot, kexec, boot.

case "$STAGE" in
1)
	next_kernel
	run kernel-1 grep -q kho=on /proc/cmdline
	go
	;;
2)
	run kernel-2 grep -q lu.stage=2 /proc/cmdline
	;;
esac
