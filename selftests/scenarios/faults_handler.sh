# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/fault_handler.c: the same for the handler of another module, while that is
# loaded and unloaded, and while its files are preserved.

NUMBER_MODULE=$(module_path number)
BORROW_MODULE=$(module_path borrow)
export NUMBER_MODULE BORROW_MODULE

load_module
run_accounted fault_handler /selftests/ours/fault_handler
run unload rmmod liveupdate
