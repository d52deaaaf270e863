# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# number.ko is loaded and unloaded all the time, in the first kernel while other threads
# preserve its files, in the second while they retrieve them.

NUMBER_MODULE=$(module_path number)
export NUMBER_MODULE

load_module
if [ "$STAGE" = "$STAGES" ]; then
	accounting_start
	run "kexec_unload-$STAGE" /selftests/ours/kexec_unload "$STAGE"
	accounting_check kexec_unload-accounting
	run unload rmmod liveupdate
else
	run_accounted handler_races /selftests/ours/handler_races
	next_kernel
	run "kexec_unload-$STAGE" /selftests/ours/kexec_unload "$STAGE"
	go
fi
