# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A multi-stage program of ours, $PROGRAM. Each stage calls it with the number of
# the stage. In all but the last, it leaves a process that holds its sessions. The
# runner makes a scenario for every selftests/kexec_*.c.

if [ -f "/lib/$(cmdline_value lu.module liveupdate).ko" ]; then
	load_module "$(cmdline_value lu.module liveupdate)"
else
	load_module
fi
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "$PROGRAM-$STAGE" "/selftests/ours/$PROGRAM" "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check "$PROGRAM-accounting"
else
	go
fi
