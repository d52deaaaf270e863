# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The module is not unloaded while incoming sessions are unfinished, and when
# it is loaded again after that, nothing is read a second time.

not_while_unfinished()
{
	if rmmod liveupdate; then
		echo "# rmmod succeeded with unfinished incoming sessions"
		return 1
	fi
	[ -c /dev/liveupdate ]
}

says()
{
	if ! dmesg | grep 'liveupdate: live update' | tail -n 1 | grep -q "$1"; then
		echo "# expected the log to say: $1"
		return 1
	fi
}

# A stage-1 run exits 0 only if the device opens and knows no such session.
nothing_came_in()
{
	/selftests/upstream/luo_kexec_simple -s 1
}

load_module
if [ "$STAGE" = 1 ]; then
	next_kernel
	run preserve /selftests/upstream/luo_kexec_simple -s 1
	go
else
	run log-counts-sessions says "live update 1, 2 incoming sessions"
	run rmmod-refused-before-open not_while_unfinished
	run retrieve-and-finish /selftests/upstream/luo_kexec_simple -s 2
	run rmmod rmmod liveupdate
	run insmod-again load_module_checked
	run log-counts-no-sessions says "live update 1, 0 incoming sessions"
	run nothing-came-in nothing_came_in
fi
