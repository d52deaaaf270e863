# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# One boot of a benchmark run, in the guest. lu.steps= is the list of steps, one for
# each kexec: a boot takes over the state of the step before, and makes the state
# of its own step. bench/measure.py has the steps.

# step NUMBER: that item of the list, or - before the first and after the last.
step()
{
	item=
	# The comma, because cut takes a line without one as a whole.
	[ "$1" -lt 1 ] || item=$(echo "$(cmdline_value lu.steps)," | cut -d, -f"$1")
	echo "${item:--}"
}

# A cgroup of its own, as a workload has: the kernel charges pages to it.
mkdir /sys/fs/cgroup/bench
echo 0 >/sys/fs/cgroup/bench/cgroup.procs

# Writing to the console takes time. So the kernel only prints what the host needs:
# its last line before the kexec, and warnings.
echo 6 >/proc/sys/kernel/printk

# A kernel has no timers finer than its tick until it uses its last clock. Sampling
# within a system call needs such timers.
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
