# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Kexecs in a row, with what selftests/soak.c does in each kernel. "make soak N="
# makes more of them.

load_module
# In the last one too: memory is compared, and an image takes some.
next_kernel
accounting_start
run "soak-$STAGE" /selftests/ours/soak "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check soak-accounting
else
	go
fi
