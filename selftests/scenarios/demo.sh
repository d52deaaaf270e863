# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The guest's part of `make demo`. qemu/demo.py runs it and explains it.

load_module
say_time "module-$STAGE"
case "$STAGE" in
1)
	next_kernel
	run demo-1 /selftests/ours/demo 1
	say_time reboot
	go
	;;
2)
	run demo-2 /selftests/ours/demo 2
	;;
esac
