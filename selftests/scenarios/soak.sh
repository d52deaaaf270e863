# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Kexecs in a row, with random work of selftests/soak.c in each kernel.

load_module
# In the last stage too: the stages compare their memory, and an image takes some.
next_kernel
accounting_start
run "soak-$STAGE" /selftests/ours/soak "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check soak-accounting
else
	go
fi
