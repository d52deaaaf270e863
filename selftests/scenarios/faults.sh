# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Every allocation, and every copy from or to the user, fails once: in loading and
# unloading, in every call, in the serialization, and in the kernel after it.
#
# A call that fails for lack of memory may say so with a trace of its own; real
# reports have a line of their own before it.
#
# debug: only
# stages: 2
# memory: 2G
# timeout: 240
# kernels: debug-7.3 debug-7.3
# allow: Call Trace:

LUO_MODULE=$(module_path liveupdate-test)
export LUO_MODULE

case "$STAGE" in
1)
	run fault_module /selftests/ours/fault_module
	load_module liveupdate-test
	run_accounted fault_calls /selftests/ours/fault_calls
	run kmemleak-1 no_leaks
	next_kernel
	run kexec_faults-1 /selftests/ours/kexec_faults 1
	go
	;;
2)
	load_module liveupdate-test
	accounting_start
	run first-open /selftests/ours/kexec_faults open 2
	run kexec_faults-2 /selftests/ours/kexec_faults 2
	accounting_check faults-accounting
	run rmmod rmmod liveupdate
	;;
esac
