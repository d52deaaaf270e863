# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The kernel's own luo_stress_sessions, unmodified, through both stages.
#
# stages: 2
# memory: 1G
# timeout: 180
# kernels: rust-7.3 rust-7.3

load_module
case "$STAGE" in
1)
	next_kernel
	run luo_stress_sessions-1 /selftests/upstream/luo_stress_sessions -s 1
	go
	;;
2)
	accounting_start
	run luo_stress_sessions-2 /selftests/upstream/luo_stress_sessions -s 2
	accounting_check luo_stress_sessions-accounting
	;;
esac
