# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# One multi-stage program of ours (lu.program=): the runner makes a scenario
# from this for every selftests/kexec_*.c. The program is called once in every
# stage with the number of the stage; in all but the last it leaves behind a
# process that holds its sessions.

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
