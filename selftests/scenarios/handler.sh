# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Our programs that need the module with its test hooks.

load_module liveupdate-test
for program in /selftests/ours/test_*; do
	name=${program##*/}
	run_accounted "$name" "$program"
done
