# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The functions of a scenario's script, which each boot of a run reads once. $STAGE
# (1, 2, ...) is the number of the boot, $STAGES that of the last one. A check that
# fails sets FAILED.

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

# flush: wait until the port has sent everything.
flush()
{
	stty -F "$REPORT" raw -echo
}

fail()
{
	echo "# $*"
	FAILED=1
}

# say_time NAME: print a mark for the host's timeline.
say_time()
{
	echo "MARK $1 $(cut -d' ' -f1 /proc/uptime)"
}

# module_path NAME: the path of a module for the kernel of this stage.
module_path()
{
	if [ -f "/lib/$(kernel_of "$STAGE")/$1.ko" ]; then
		echo "/lib/$(kernel_of "$STAGE")/$1.ko"
	else
		echo "/lib/$1.ko"
	fi
}

# load_module [liveupdate|liveupdate-test [PARAMETER=VALUE...]]: does nothing on
# a kernel that has the C implementation.
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

# load_module_checked: the same with an exit status, for "run".
load_module_checked()
{
	load_module "$@" && [ -c /dev/liveupdate ]
}

# load_handlers: liveupdate.ko and the handler of devices; that of iommufd too if the
# scenario sets DEVICE_IOMMUFD.
load_handlers()
{
	load_module_checked liveupdate || return 1
	insmod "$(module_path liveupdate_vfio)" || return 1
	[ -z "${DEVICE_IOMMUFD:-}" ] || insmod "$(module_path liveupdate_iommufd)"
}

unload_handlers()
{
	rmmod liveupdate_vfio || return 1
	[ -z "${DEVICE_IOMMUFD:-}" ] || rmmod liveupdate_iommufd
}

# kernel_of STAGE: the name of the kernel of that stage. The last one of the list
# serves all later stages.
kernel_of()
{
	kernel=$(echo "$KERNELS," | cut -d, -f"$1")
	echo "${kernel:-${KERNELS##*,}}"
}

# How kexec loads a kernel: -s by kexec_file_load(2), -c by kexec_load(2).
KEXEC_LOAD=-s

# next_kernel [NAME]: load the kernel of the next stage.
next_kernel()
{
	name=${1:-$(kernel_of $((STAGE + 1)))}
	next=$(sed "s/lu\.stage=[0-9]*/lu.stage=$((STAGE + 1))/" /proc/cmdline)
	if ! kexec "$KEXEC_LOAD" -l "/host/kernels/$name" \
		--initrd=/host/initramfs.cpio --append="$next"; then
		fail "kexec could not load $name"
		return 1
	fi
}

# go: enter the kernel that next_kernel loaded. Returns only on failure.
go()
{
	[ "$FAILED" = 0 ] || return 1
	echo "=== stage $STAGE kexec"
	flush
	kexec -x -e
	fail "kexec -e returned in stage $STAGE"
	return 1
}

RUNS=0

# result STATUS NAME: print the line that the host counts. 4 is kselftest's
# status for "skipped".
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

# run NAME COMMAND...: run a program, or a function of the script, in a memory
# cgroup of its own.
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

# accounting_start: note how much memory is in use, for accounting_check.
accounting_start()
{
	accounting_before=$(accounting_read)
}

accounting_read()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	# This adds the differences that each CPU keeps to the counters.
	cat /proc/sys/vm/stat_refresh
	# MemAvailable does not count the free pages in the lists of each CPU.
	awk -v kb="$PAGE_KB" '
		FILENAME ~ /zoneinfo/ { if ($1 == "count:") at_hand += $2; next }
		{ v[$1] = $2 }
		END {
			print v["MemAvailable:"] + at_hand * kb, v["Shmem:"],
				v["Committed_AS:"]
		}' /proc/zoneinfo /proc/meminfo
}

# The tolerances, in pages. Slabs keep some free pages (measured: fewer than 100),
# and the kernel once sets aside a page block of 512; Shmem and Committed_AS count
# exactly what is in use. A cgroup is charged whole pages for slab objects, and
# keeps some of them without any object (measured: 92, after two CPUs had made and
# freed hundreds of thousands).
ACCOUNTING_AVAILABLE=${ACCOUNTING_AVAILABLE:-640}
ACCOUNTING_SHMEM=${ACCOUNTING_SHMEM:-4}
ACCOUNTING_COMMITTED=${ACCOUNTING_COMMITTED:-16}
ACCOUNTING_CHARGE=${ACCOUNTING_CHARGE:-160}

# accounting_settles: after everything is closed and finished, memory must be as
# before: no less is available, Shmem and Committed_AS are the same, and the cgroup
# of the last "run" is charged for nothing.
accounting_settles()
{
	# The kernel defers some freeing (RCU, batches of each CPU), and a cgroup
	# shows small changes after two seconds only.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		after=$(accounting_read)
		# Not memory.current, which counts pages charged in advance.
		charge=$(charge_of anon file kernel)
		shmem=$(charge_of shmem)
		if accounting_compare; then
			return 0
		fi
		sleep 0.3
	done
	return 1
}

# accounting_check NAME: the same as a test, which prints the numbers.
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

# run_accounted NAME COMMAND...: run, then check that no memory is lost. If some
# seems to be, run it once more in silence; that run counts, because slabs grow
# once and a leak grows with every run.
run_accounted()
{
	accounted=$1
	accounting_start
	run "$@"
	if ! accounting_settles; then
		accounting_print
		echo "# $accounted again, to tell a leak from a slab that grew"
		accounting_start
		run "$@" >/dev/null 2>&1
	fi
	accounting_check "$accounted-accounting"
}

# charge_of NAME...: the sum of these lines of the last run's memory.stat, in bytes.
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

# say_shell_end: for the interactive guest.
say_shell_end()
{
	printf 'The shell ended: r and Enter for another, Enter to power off.\n' \
		>/dev/ttyS0
}
