# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The parameters that bound the numbers of sessions and files: at the bound a call
# fails with ENOSPC, and after a close it succeeds.

load_with()
{
	[ ! -c /dev/liveupdate ] || rmmod liveupdate || return 1
	insmod "$(module_path liveupdate)" "$@"
}

# Userspace can read the parameters of a loaded module, but not change them.
parameters_are_fixed()
{
	for name in max_sessions max_files; do
		value=/sys/module/liveupdate/parameters/$name
		if [ -e "$value" ] && [ "$(stat -c %a "$value")" != 444 ]; then
			ls -l "$value"
			return 1
		fi
	done
}

export LUO_SESSIONS LUO_FILES

LUO_SESSIONS=3 LUO_FILES=5
run insmod load_with max_sessions=3 max_files=5
run parameters-are-fixed parameters_are_fixed
run_accounted limits /selftests/ours/limits
LUO_SESSIONS=1 LUO_FILES=1
run insmod-one load_with max_sessions=1 max_files=1
run_accounted limits-of-one /selftests/ours/limits
LUO_SESSIONS=0 LUO_FILES=0
run insmod-unlimited load_with
run no-limits /selftests/ours/limits
