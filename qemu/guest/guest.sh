# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# What a scenario can call, in the guest. A scenario is a piece of sh that is
# read once in each boot of its run; it looks at $STAGE (1, 2, ...) to see in
# which one it is. Every function that checks something sets FAILED.

FAILED=0
REPORT=/dev/ttyS1
PAGE_KB=4

# cmdline_value NAME [DEFAULT]: the value of NAME= on the kernel command line.
cmdline_value()
{
	read -r cmdline </proc/cmdline
	for word in $cmdline; do
		case "$word" in
		"$1="*)
			echo "${word#*=}"
			return
			;;
		esac
	done
	echo "${2:-}"
}

SCRIPT=$(cmdline_value lu.script none)
STAGE=$(cmdline_value lu.stage 1)
STAGES=$(cmdline_value lu.stages 1)
KERNELS=$(cmdline_value lu.kernels)
PROGRAM=$(cmdline_value lu.program)
export STAGE STAGES PROGRAM

# flush: wait until everything written to the report has left the port.
flush()
{
	stty -F "$REPORT" raw -echo
}

fail()
{
	echo "# $*"
	FAILED=1
}

# say_time NAME: a mark that the host turns into a point of the timeline.
say_time()
{
	echo "MARK $1 $(cut -d' ' -f1 /proc/uptime)"
}

# module_path NAME: where a module for the kernel of this stage is.
module_path()
{
	if [ -f "/lib/$(kernel_of "$STAGE")/$1.ko" ]; then
		echo "/lib/$(kernel_of "$STAGE")/$1.ko"
	else
		echo "/lib/$1.ko"
	fi
}

# load_module [liveupdate|liveupdate-test [PARAMETER=VALUE...]]: nothing to do
# on a kernel that has the C implementation.
load_module()
{
	module=${1:-liveupdate}
	[ $# -eq 0 ] || shift
	if [ -c /dev/liveupdate ]; then
		return 0
	fi
	if ! insmod "$(module_path "$module")" "$@"; then
		fail "insmod $module.ko failed"
		return 1
	fi
	[ -c /dev/liveupdate ] || fail "no /dev/liveupdate after insmod"
}

# load_module_checked: the same, as a test for "run".
load_module_checked()
{
	load_module "$@" && [ -c /dev/liveupdate ]
}

# kernel_of STAGE: the name of the kernel that the run wants in that stage. The
# last one named serves the rest.
kernel_of()
{
	kernel=$(echo "$KERNELS," | cut -d, -f"$1")
	echo "${kernel:-${KERNELS##*,}}"
}

# next_kernel [NAME]: load the kernel of the next stage.
next_kernel()
{
	name=${1:-$(kernel_of $((STAGE + 1)))}
	next=$(sed "s/lu\.stage=[0-9]*/lu.stage=$((STAGE + 1))/" /proc/cmdline)
	if ! kexec -s -l "/host/kernels/$name" \
		--initrd=/host/initramfs.cpio --append="$next"; then
		fail "kexec could not load $name"
		return 1
	fi
}

# go: jump into the kernel that next_kernel loaded. Returns only on failure.
go()
{
	[ "$FAILED" = 0 ] || return 1
	echo "=== stage $STAGE kexec"
	flush
	kexec -x -e
	fail "kexec -e came back in stage $STAGE"
	return 1
}

RUNS=0

# result STATUS NAME: the line the host counts. 4 is kselftest's "skipped".
result()
{
	case "$1" in
	0) echo "RESULT pass $2" ;;
	4) echo "RESULT skip $2" ;;
	*)
		echo "RESULT fail $2 (exit status $1)"
		FAILED=1
		;;
	esac
}

# run NAME COMMAND...: run a test program, or a function of the scenario, in a
# memory cgroup of its own.
run()
{
	name=$1
	shift
	echo "# run $name"
	RUNS=$((RUNS + 1))
	group=/sys/fs/cgroup/run-$RUNS
	mkdir -p "$group"
	(
		echo 0 >"$group/cgroup.procs"
		"$@"
	)
	result $? "$name"
}

# accounting_start: note what memory is in use, for accounting_check.
accounting_start()
{
	accounting_before=$(accounting_read)
}

accounting_read()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	# Fold the per-CPU differences into the counters.
	cat /proc/sys/vm/stat_refresh
	# Free pages that a CPU keeps at hand are not in MemAvailable.
	awk -v kb="$PAGE_KB" '
		FILENAME ~ /zoneinfo/ { if ($1 == "count:") at_hand += $2; next }
		{ v[$1] = $2 }
		END {
			print v["MemAvailable:"] + at_hand * kb, v["Shmem:"],
				v["Committed_AS:"]
		}' /proc/zoneinfo /proc/meminfo
}

# The tolerances, in pages. Available memory moves by what slab keeps (measured:
# under 100 pages) and once by a page block of 512 that is set aside; the other
# two count exactly what is in use. For objects of slabs a cgroup is charged pages,
# some of which it keeps when the objects are gone (measured: 92, with no object
# left, of hundreds of thousands that two CPUs made and freed).
ACCOUNTING_AVAILABLE=${ACCOUNTING_AVAILABLE:-640}
ACCOUNTING_SHMEM=${ACCOUNTING_SHMEM:-4}
ACCOUNTING_COMMITTED=${ACCOUNTING_COMMITTED:-16}
ACCOUNTING_CHARGE=${ACCOUNTING_CHARGE:-160}

# accounting_settles: everything is closed and finished, so memory must be back
# where it was: no less of it available, Shmem and Committed_AS the same, and
# nothing of it charged to the cgroup of the last "run".
accounting_settles()
{
	# Freeing is partly deferred (RCU, per-CPU batches), and what a cgroup has
	# freed shows up after two seconds if it is little: give it a moment.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		after=$(accounting_read)
		# Not memory.current, which has pages that are charged in advance.
		charge=$(charge_of anon file kernel)
		shmem=$(charge_of shmem)
		if accounting_compare; then
			return 0
		fi
		sleep 0.3
	done
	return 1
}

# accounting_check NAME: the same as a test, with the numbers.
accounting_check()
{
	echo "# run $1"
	status=0
	accounting_settles || status=1
	accounting_print
	result "$status" "$1"
}

accounting_print()
{
	# shellcheck disable=SC2086 # three numbers
	set -- $accounting_before $after
	echo "# MemAvailable $1 kB before, $4 kB after (at most $ACCOUNTING_AVAILABLE pages less)"
	echo "# Shmem $2 kB before, $5 kB after (within $ACCOUNTING_SHMEM pages)"
	echo "# Committed_AS $3 kB before, $6 kB after (within $ACCOUNTING_COMMITTED pages)"
	echo "# memcg charge ${charge:-0} bytes, ${shmem:-0} of it shmem (at most $ACCOUNTING_CHARGE and 0 pages)"
}

# run_accounted NAME COMMAND...: run, then check that it left nothing behind. If
# it seems to have, it runs a second time, in silence, and that is what counts:
# the kernel's slabs grow once, a leak grows with every run.
run_accounted()
{
	accounted=$1
	accounting_start
	run "$@"
	if ! accounting_settles; then
		accounting_print
		echo "# $accounted once more, to tell a leak from a cache that grew"
		accounting_start
		run "$@" >/dev/null 2>&1
	fi
	accounting_check "$accounted-accounting"
}

# charge_of NAME...: bytes that are charged to the last run's cgroup as such.
charge_of()
{
	[ -f "$group/memory.stat" ] || {
		echo 0
		return
	}
	awk -v names=" $* " 'index(names, " " $1 " ") { sum += $2 }
		END { print sum + 0 }' "$group/memory.stat"
}

accounting_compare()
{
	echo "$accounting_before $after ${charge:-0} ${shmem:-0}" | awk \
		-v kb="$PAGE_KB" -v available="$ACCOUNTING_AVAILABLE" \
		-v shmem="$ACCOUNTING_SHMEM" -v committed="$ACCOUNTING_COMMITTED" \
		-v charge="$ACCOUNTING_CHARGE" '
		function off(a, b) { return a > b ? a - b : b - a }
		{
			bad = ($1 - $4 > available * kb) ||
				(off($2, $5) > shmem * kb) ||
				(off($3, $6) > committed * kb) ||
				($7 > charge * kb * 1024) || ($8 > 0)
			exit bad
		}'
}

# For the interactive guest.
say_shell_end()
{
	printf 'The shell ended: r and Enter for another, Enter to power off.\n' \
		>/dev/ttyS0
}
