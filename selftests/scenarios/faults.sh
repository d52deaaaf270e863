# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Every allocation and every copy from or to userspace fails once: while the
# module is loaded and unloaded, in every call, while reboot(2) serializes, and
# in the next kernel.

LUO_MODULE=$(module_path liveupdate-test)
export LUO_MODULE

case "$STAGE" in
1)
	run fault_module /selftests/ours/fault_module
	load_module liveupdate-test
	run_accounted fault_calls /selftests/ours/fault_calls
	run kmemleak-1 no_leaks
	next_kernel
	run insmod-number insmod "$(module_path number)"
	run kexec_faults-1 /selftests/ours/kexec_faults 1
	go
	;;
2)
	load_module liveupdate-test
	run insmod-number insmod "$(module_path number)"
	accounting_start
	run first-open /selftests/ours/kexec_faults open 2
	run kexec_faults-2 /selftests/ours/kexec_faults 2
	accounting_check faults-accounting
	run rmmod-number rmmod number
	run rmmod rmmod liveupdate
	;;
esac
