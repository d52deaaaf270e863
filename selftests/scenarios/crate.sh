# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The crate of userspace/ across a kexec: its tests, and the example that its
# documentation shows.

# agent_runs: the example, until it waits for the kexec.
agent_runs()
{
	/userspace/agent >/tmp/agent &
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		! grep -q 'waits for the kexec' /tmp/agent || break
		sleep 0.5
	done
	# A count above zero came from the previous kernel.
	sed 's/^/# /' /tmp/agent
	grep -q "^kernel $STAGE of this agent" /tmp/agent &&
		{ [ "$STAGE" = 1 ] || grep -q 'counted to [1-9]' /tmp/agent; }
}

# agent_ends: nothing is left of its session, so another one begins anew.
agent_ends()
{
	killall agent
	STAGE=1 agent_runs
	status=$?
	killall agent
	# The accounting counts files of /tmp.
	rm -f /tmp/agent
	return "$status"
}

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "crate-$STAGE" /userspace/crate_stages "$STAGE"
run "agent-$STAGE" agent_runs
if [ "$STAGE" = "$STAGES" ]; then
	run agent-ends agent_ends
	accounting_check crate-accounting
	run unload rmmod liveupdate
else
	go
fi
