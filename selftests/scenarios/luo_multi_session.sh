# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The kernel's own luo_multi_session, unmodified, through both stages.
#
# stages: 2
# memory: 1G
# timeout: 60
# kernels: rust-7.3 rust-7.3

load_module
case "$STAGE" in
1)
	next_kernel
	run luo_multi_session-1 /selftests/upstream/luo_multi_session -s 1
	go
	;;
2)
	accounting_start
	run luo_multi_session-2 /selftests/upstream/luo_multi_session -s 2
	accounting_check luo_multi_session-accounting
	;;
esac
