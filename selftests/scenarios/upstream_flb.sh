# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_flb.c. The C orchestrator has the kernel's test of FLBs built in.

load_module liveupdate-test
if [ -d /sys/module/liveupdate/holders ]; then
	run insmod insmod "$(module_path upstream_flb)"
fi
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "kexec_flb-$STAGE" /selftests/ours/kexec_flb "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check kexec_flb-accounting
	if [ -d /sys/module/liveupdate/holders ]; then
		run unload rmmod upstream_flb
	fi
else
	go
fi
