# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The kernel's own luo_kexec_simple, unmodified, through both stages.
#
# stages: 2
# memory: 1G
# timeout: 60
# kernels: rust-7.3 rust-7.3

load_module
case "$STAGE" in
1)
	next_kernel
	run luo_kexec_simple-1 /selftests/upstream/luo_kexec_simple -s 1
	go
	;;
2)
	accounting_start
	run luo_kexec_simple-2 /selftests/upstream/luo_kexec_simple -s 2
	accounting_check luo_kexec_simple-accounting
	;;
esac
