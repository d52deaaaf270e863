# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The guest's part of "make demo", which qemu/demo.py runs and explains.
#
# hidden: yes
# stages: 2
# memory: 1G
# timeout: 120
# kernels: rust-7.3 rust-7.3

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
