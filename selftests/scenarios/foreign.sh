# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_handler.c, which loads and unloads number.ko.

NUMBER_MODULE=$(module_path number)
export NUMBER_MODULE

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "kexec_handler-$STAGE" /selftests/ours/kexec_handler "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check kexec_handler-accounting
	run unload rmmod liveupdate
else
	go
fi
