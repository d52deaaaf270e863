# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Programs that load and unload a module with a handler: $FIRST in the first kernel, then
# the stages of $STAGED.

NUMBER_MODULE=$(module_path number)
BORROW_MODULE=$(module_path borrow)
export NUMBER_MODULE BORROW_MODULE

load_module
if [ "$STAGE" = "$STAGES" ]; then
	accounting_start
	run "$STAGED-$STAGE" "/selftests/ours/$STAGED" "$STAGE"
	accounting_check "$STAGED-accounting"
	run unload rmmod liveupdate
else
	run_accounted "$FIRST" "/selftests/ours/$FIRST"
	next_kernel
	run "$STAGED-$STAGE" "/selftests/ours/$STAGED" "$STAGE"
	go
fi
