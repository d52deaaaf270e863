# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# One boot of a benchmark run, in the guest. lu.steps= is the list of what goes
# through a kexec, one after the other: each boot takes what the one before it
# made, and makes the next. bench.py says which steps.
#
# memory: 3G

# step NUMBER: that item of the list, or - before the first and after the last.
step()
{
	item=
	# The comma, because cut takes a line without one as a whole.
	[ "$1" -lt 1 ] || item=$(echo "$(cmdline_value lu.steps)," | cut -d, -f"$1")
	echo "${item:--}"
}

# A cgroup of its own, as a workload would have: pages are charged to it.
mkdir /sys/fs/cgroup/bench
echo 0 >/sys/fs/cgroup/bench/cgroup.procs

# Only what the host needs to see is written to the console, which takes time:
# the last line of the kernel before it leaves, and warnings.
echo 6 >/proc/sys/kernel/printk

# Until its last clock is in use a kernel has no timers finer than its tick,
# which looking at what a system call does in the middle of it needs.
clock=/sys/devices/system/clocksource/clocksource0/current_clocksource
for _ in 1 2 3 4 5 6 7 8; do
	! grep -q early "$clock" || sleep 0.5
done

if [ -n "$(cmdline_value lu.profile)" ]; then
	export BENCH_PROFILE=1
fi

[ "$STAGE" -ge "$STAGES" ] || next_kernel
if [ "$FAILED" = 0 ]; then
	/bench "$STAGE" "$(step $((STAGE - 1)))" "$(step "$STAGE")" ||
		fail "bench failed in stage $STAGE"
fi
