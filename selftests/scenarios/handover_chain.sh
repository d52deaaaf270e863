# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The same memfd is carried from implementation to implementation and back.
#
# stages: 4
# memory: 1G
# timeout: 240
# kernels: c-7.3 rust-7.3 c-7.3 rust-7.3
# cmdline: liveupdate=on

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
run "kexec_thrice-$STAGE" /selftests/ours/kexec_thrice "$STAGE"
[ "$STAGE" = "$STAGES" ] || go
