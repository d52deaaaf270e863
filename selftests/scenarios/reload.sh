# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The module does not unload while incoming sessions are unfinished. After it was
# unloaded and loaded again, it does not read the handed-over state a second time.

not_while_unfinished()
{
	if rmmod liveupdate; then
		echo "# rmmod succeeded with unfinished incoming sessions"
		return 1
	fi
	[ -c /dev/liveupdate ]
}

logged()
{
	if ! dmesg | grep 'liveupdate: live update' | tail -n 1 | grep -q "$1"; then
		echo "# not in the log: $1"
		return 1
	fi
}

# Stage 1 of the program exits 0 only if the device opens and has no such session.
no_incoming_session()
{
	/selftests/upstream/luo_kexec_simple -s 1
}

load_module
if [ "$STAGE" = 1 ]; then
	next_kernel
	run preserve /selftests/upstream/luo_kexec_simple -s 1
	go
else
	run log-counts-sessions logged "live update 1, 2 incoming sessions"
	run rmmod-refused-before-open not_while_unfinished
	run retrieve-and-finish /selftests/upstream/luo_kexec_simple -s 2
	run rmmod rmmod liveupdate
	run insmod-again load_module_checked
	run log-counts-no-sessions logged "live update 1, 0 incoming sessions"
	run no-incoming-session no_incoming_session
fi
