# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The programs of ours that need the test build of the module.

load_module liveupdate-test
for program in /selftests/ours/test_*; do
	name=${program##*/}
	run_accounted "$name" "$program"
done
