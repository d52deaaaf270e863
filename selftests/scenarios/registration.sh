# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/registration.c and kexec_registration.c, which load and unload borrow.ko.

BORROW_MODULE=$(module_path borrow)
export BORROW_MODULE

load_module
if [ "$STAGE" = "$STAGES" ]; then
	accounting_start
	run "kexec_registration-$STAGE" /selftests/ours/kexec_registration "$STAGE"
	accounting_check kexec_registration-accounting
	run unload rmmod liveupdate
else
	run_accounted registration /selftests/ours/registration
	next_kernel
	run "kexec_registration-$STAGE" /selftests/ours/kexec_registration "$STAGE"
	go
fi
