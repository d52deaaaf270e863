# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Files with pages whose memory is broken; see selftests/kexec_poison.c. Only the
# debug kernel can be told that memory is.
#
# debug: only
# stages: 2
# memory: 1G
# timeout: 60
# kernels: debug-7.3 debug-7.3

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "kexec_poison-$STAGE" /selftests/ours/kexec_poison "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check poison-accounting
else
	go
fi
