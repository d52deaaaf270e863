# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A program that loads and unloads modules with handlers.

NUMBER_MODULE=$(module_path number)
MODULE_DIR=${NUMBER_MODULE%/*}
export NUMBER_MODULE MODULE_DIR

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "$PROGRAM-$STAGE" "/selftests/ours/$PROGRAM" "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check "$PROGRAM-accounting"
	run unload rmmod liveupdate
else
	go
fi
