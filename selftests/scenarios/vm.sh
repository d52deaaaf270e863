# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A virtual machine that outlives the kernel of its host, in each kexec of the run.
#
# VM_VCPUS    number of its processors
# VM_CLOCK    jump or stop: what its clocks do meanwhile
# VM_PAGES    small, thp: the pages of its memory
# VM_BUSY     1: it writes all over its memory all the time
# VM_WITHOUT  a feature that the next kernel hides, so that it cannot run the guest
# VM_DAMAGED  1: the next kernel tries states that do not fit before the right one
# VM_RUNNING  1: nobody suspends the guest before the kexec, so it is lost
# VM_FAST     0: without what shortens the pause, to measure how much it does
# VM_BRIEF    1: only what is needed to measure the pause
# VM_DEMO     1: its lines and those of its client are printed as they come

VM_VCPUS=${VM_VCPUS:-1}
VM_CLOCK=${VM_CLOCK:-jump}
VM_PAGES=${VM_PAGES:-small}
VM_BUSY=${VM_BUSY:-0}
VM_WITHOUT=${VM_WITHOUT:-}
VM_DAMAGED=${VM_DAMAGED:-0}
VM_RUNNING=${VM_RUNNING:-0}
VM_FAST=${VM_FAST:-1}
VM_BRIEF=${VM_BRIEF:-0}
VM_DEMO=${VM_DEMO:-0}
CONTROL=/run/vm.control
SERIAL=/run/vm.serial
VMM_LOG=/run/vmm.log
KEPT=/host/vm
DEVICES="--console /run/vm.console --disk $KEPT/disk"

# vm_image: what the guest boots.
vm_image()
{
	root=/tmp/guest
	mkdir -p $root/bin $root/dev $root/proc $root/sys $root/tmp
	cp /bin/busybox $root/bin/busybox
	for applet in sh mount sed stty dd md5sum uname nproc cat grep sleep yes sort; do
		ln -s busybox $root/bin/$applet
	done
	cp /lib/vm_guest $root/init
	(cd $root && find . | cpio -o -H newc 2>/dev/null) >/tmp/guest.cpio
	rm -rf $root
}

# vmm_start COMMAND...: the monitor, in the background, with its log.
vmm_start()
{
	"$@" >>"$VMM_LOG" 2>&1 </dev/null &
	echo $! >/run/vmm.pid
}

vm_ticks()
{
	sed -n 's/^guest: tick \([0-9]*\) .*/\1/p' "$SERIAL" 2>/dev/null | tail -n 1
}

# vm_watch: in the demo, print what the guest prints from now on, a line at a time.
vm_watch()
{
	[ "$VM_DEMO" = 1 ] || return 0
	: >>"$SERIAL"
	(
		exec 3<"$SERIAL"
		while IFS= read -r line <&3; do :; done
		start=
		while :; do
			# At the end of the file, this has the start of an incomplete line.
			while IFS= read -r line <&3; do
				echo "GUEST $start$line"
				start=
			done
			start=$start$line
			sleep 0.1
		done
	) &
}

# wait_for_tick NUMBER SECONDS
wait_for_tick()
{
	for _ in $(seq $(($2 * 5))); do
		tick=$(vm_ticks)
		[ "${tick:-0}" -lt "$1" ] || return 0
		kill -0 "$(cat /run/vmm.pid)" 2>/dev/null || break
		sleep 0.2
	done
	echo "# the guest is at tick ${tick:-none}, not at $1; its last lines:"
	tail -n 15 "$SERIAL" | sed 's/^/# | /'
	sed 's/^/# vmm: /' "$VMM_LOG"
	return 1
}

start_guest()
{
	mkdir -p $KEPT
	dd if=/dev/zero of=$KEPT/disk bs=64k count=8 2>/dev/null
	vm_image
	vm_watch
	[ "$VM_PAGES" != thp ] ||
		echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled
	# shellcheck disable=SC2086 # two options
	vmm_start vmm run vm --kernel "/host/kernels/$(kernel_of 1)" --initrd /tmp/guest.cpio \
		--append "quiet vm.busy=$VM_BUSY" --memory 128 --vcpus "$VM_VCPUS" \
		--cpu no-xsave --clock "$VM_CLOCK" --pages "$VM_PAGES" \
		--control $CONTROL --serial $SERIAL --state-copy $KEPT/state $DEVICES
	wait_for_tick 3 90 || return 1
	rm /tmp/guest.cpio
	grep "guest: begin" $SERIAL | sed 's/^/# /'
	grep -q "guest: begin.* $VM_VCPUS processors" $SERIAL
}

# vm_words WORD...: next_kernel takes over the command line, and this adds words to it.
vm_words()
{
	words="$(cat /proc/cmdline) $*"
	echo "$words" >/run/cmdline
	mount -o bind /run/cmdline /proc/cmdline
}

# vm_fast: the next kernel need not measure again how fast the TSC is, which goes wrong on
# a busy machine, and prints less.
vm_fast()
{
	grep -q tsc_early_khz /proc/cmdline && return 0
	khz=$(dmesg | sed -n \
		's/.*tsc: \(Detected\|Refined TSC .*:\) \([0-9]*\)\.\([0-9]*\) MHz.*/\2\3/p' |
		tail -n 1)
	loops=$(dmesg | sed -n 's/.*BogoMIPS (\(lpj=[0-9]*\)).*/\1/p' | head -n 1)
	vm_words quiet tsc=reliable "tsc_early_khz=$khz" "$loops"
}

# vm_go: as "go", with the guest.
vm_go()
{
	[ "$FAILED" = 0 ] || return 1
	sed 's/^/# vmm: /' "$VMM_LOG"
	vmm frames "$(cat /run/vmm.pid)" >"$KEPT/frames.$STAGE"
	cp /run/clocks $KEPT/clocks
	echo "=== stage $STAGE kexec"
	flush
	vmm suspend-to-session --control $CONTROL -- /run/vm_enter
	fail "the kexec did not happen in stage $STAGE"
}

# refused: no kernel is loaded, so reboot(2) fails and the guest goes on.
refused()
{
	before=$(vm_ticks)
	vmm suspend-to-session --control $CONTROL -- /run/vm_enter && return 1
	cp $KEPT/state $KEPT/state.refused
	wait_for_tick $((before + 3)) 20 && vmm status --control $CONTROL | grep running
}

# killed: the client that suspended the guest is killed, so the guest goes on.
killed()
{
	before=$(vm_ticks)
	vmm suspend-to-session --control $CONTROL -- sleep 1000 &
	client=$!
	sleep 1
	vmm status --control $CONTROL </dev/null &
	kill -9 $client
	wait_for_tick $((before + 3)) 20
}

# resume_early: start the monitor, which waits for the module.
resume_early()
{
	# shellcheck disable=SC2086 # two options
	vmm_start vmm resume vm --wait 30 --control $CONTROL --serial $SERIAL \
		--state-copy $KEPT/state $DEVICES
}

resume_guest()
{
	[ -f /run/vmm.pid ] || resume_early
	before=$(sed -n 's/^guest: tick \([0-9]*\) .* disk.*/\1/p' $KEPT/serial | tail -n 1)
	wait_for_tick $((before + 3)) 30
	status=$?
	sed -n 's/^/# vmm: /p' "$VMM_LOG"
	return $status
}

# damaged_states: states that do not fit are refused, each with its reason.
damaged_states()
{
	size=$(wc -c <$KEPT/state)
	cp $KEPT/state /tmp/state
	for offset in 0 9 13 17 49 57 100 $((size / 2)) $((size - 1)); do
		cp /tmp/state /tmp/damaged
		byte=$(dd if=/tmp/state bs=1 skip="$offset" count=1 2>/dev/null | od -An -tu1)
		# shellcheck disable=SC2059 # the format is the byte
		printf "\\$(printf %03o $((byte ^ 1)))" |
			dd of=/tmp/damaged bs=1 seek="$offset" conv=notrunc 2>/dev/null
		refuse_state /tmp/damaged "state" || return 1
	done
	head -c $((size / 2)) /tmp/state >/tmp/damaged
	refuse_state /tmp/damaged "bytes, and needs" || return 1
	refuse_state /lib/guest.sh "is not a state file" || return 1
	# That of an earlier suspend, whose memory has changed since then.
	[ ! -f $KEPT/state.refused ] ||
		refuse_state $KEPT/state.refused "the state is that of suspend"
}

# refuse_state FILE PATTERN
refuse_state()
{
	# shellcheck disable=SC2086 # two options
	if vmm resume vm --state "$1" --control $CONTROL --serial $SERIAL $DEVICES \
		>/tmp/refusal 2>&1; then
		echo "# $1 was not refused"
		return 1
	fi
	sed 's/^/# /' /tmp/refusal
	grep -q "all of it is kept for another try.*$2" /tmp/refusal
}

# same_frames: frames are where they were. A page that the guest first used after its memory
# was preserved may have moved, because it may lie where the next kernel boots. Those
# that came through the kexec before were there when its memory was preserved.
same_frames()
{
	before=$KEPT/frames.$((STAGE - 1))
	whole=$KEPT/frames.$((STAGE - 2))
	[ -f "$whole" ] || whole=/dev/null
	vmm frames "$(cat /run/vmm.pid)" >/tmp/frames
	awk -v whole="$whole" -v before="$before" '
		FILENAME == whole { pinned[$1]; next }
		FILENAME == before { at[$1] = $2; next }
		{ now[$1] = $2 }
		END {
			for (page in at) {
				count++
				if (now[page] == at[page])
					same++
				else if (page in pinned || !(page in now))
					wrong++
			}
			print "# " same " of " count " frames are where they were, " wrong + 0 " must not have moved"
			exit wrong > 0 || same < count / 2 || count < 1000
		}' "$whole" "$before" /tmp/frames
}

# one_life: the guest was not started again, and its memory has the same content.
one_life()
{
	[ "$(grep -c 'guest: begin' $SERIAL)" = 1 ] || return 1
	! grep -a BAD $SERIAL || return 1
	awk '/^guest: tick/ { if ($3 != last + 1) bad++; last = $3 }
		END { print "# " last " ticks, " bad + 0 " out of order"; exit bad > 0 }' $SERIAL
}

# vm_talk LINE: the guest's answer. Leaves "OUTSIDE UPTIME" in /run/clocks: seconds of the
# host of this host, which stamps the files of its share, and hundredths of the guest.
vm_talk()
{
	answer=$(vmm talk --console /run/vm.console "$1")
	: >$KEPT/now
	outside=$(stat -c '%Y %y' $KEPT/now | sed 's/\([0-9]*\) [^.]*\(\.[0-9]*\) .*/\1\2/')
	echo "$outside $(echo "$answer" | cut -d' ' -f2)" >/run/clocks
	echo "$answer" | cut -d' ' -f1,3-
}

# clock_right: between a line before the kexec and one after it, the guest's clock
# went on as much as that outside, or by the pause less.
clock_right()
{
	pause=$(sed -n 's/.*pause \([0-9.]*\)s: .*/\1/p' "$VMM_LOG")
	vm_talk "what time is it" >/dev/null
	cat $KEPT/clocks /run/clocks | awk -v clock="$VM_CLOCK" -v pause="$pause" '
		{ outside[NR] = $1; guest[NR] = $2 / 100 }
		END {
			lost = outside[2] - outside[1] - (guest[2] - guest[1])
			print "# clock " clock ": " lost " s behind, after a pause of " pause " s"
			wanted = clock == "jump" ? 0 : pause
			exit !(NR == 2 && pause > 1 && lost > wanted - pause / 2 &&
				lost < wanted + pause / 2)
		}'
}

# talks: a line over the console comes back, with the number of lines since the guest
# was started.
talks()
{
	# In each stage but the first, clock_right has said a line.
	answer=$(vm_talk "hello from stage $STAGE")
	echo "# $answer"
	[ "$answer" = "$((2 * STAGE - 1)) hello from stage $STAGE" ]
}

# converses: a client sends a line every second. Each comes back with the number of lines
# since the guest was started.
converses()
{
	# In each stage but the first, clock_right has said a line.
	said=$(($(cat $KEPT/said 2>/dev/null || echo -1) + 1))
	for _ in 1 2 3; do
		said=$((said + 1))
		answer=$(vm_talk "hello on $(uname -r)")
		echo "CLIENT $answer"
		[ "$answer" = "$said hello on $(uname -r)" ] || return 1
		echo $said >$KEPT/said
		sleep 1
	done
}

# no_state: the memory of a guest that nobody suspended is there, but it cannot go on.
no_state()
{
	# shellcheck disable=SC2086 # two options
	if vmm resume vm --control $CONTROL --serial $SERIAL $DEVICES >/tmp/refusal 2>&1; then
		return 1
	fi
	sed 's/^/# /' /tmp/refusal
	grep -q "the guest was not suspended" /tmp/refusal
}

# other_processor: the guest is not resumed where it would miss a feature, and is kept.
other_processor()
{
	for _ in 1 2; do
		# shellcheck disable=SC2086 # two options
		if vmm resume vm --control $CONTROL --serial $SERIAL $DEVICES >/tmp/refusal 2>&1; then
			return 1
		fi
		sed 's/^/# /' /tmp/refusal
		grep -q "all of it is kept for another try.*the processor lacks features" \
			/tmp/refusal || return 1
	done
}

# huge_pages: part of the guest's memory is in huge pages.
huge_pages()
{
	grep ShmemHugePages /proc/meminfo | sed 's/^/# /'
	[ "$(awk '/ShmemHugePages/ { print $2 }' /proc/meminfo)" -gt 8192 ]
}

# Each boot reads this script twice. The first time, in vm_early.sh, only the monitor is
# started and the module loaded. The monitor prepares until the module is there.
if [ "${VM_EARLY:-0}" = 1 ]; then
	if [ "$STAGE" != 1 ] && [ "$STAGE$VM_DAMAGED" != 21 ] && [ -z "$VM_WITHOUT" ] &&
		[ "$VM_FAST" = 1 ] && [ "$VM_RUNNING" = 0 ]; then
		resume_early
		load_module
	fi
	return 0
fi
# vm_enter: what runs while the guest is suspended. Keeps what the guest has printed.
cat >/run/vm_enter <<END
#!/bin/sh
cp $SERIAL $KEPT/serial
exec kexec -x -e
END
chmod +x /run/vm_enter

if [ "$STAGE" != 1 ] && [ "$VM_RUNNING" = 0 ]; then
	cp $KEPT/serial $SERIAL
	vm_watch
fi
load_module
if [ "$VM_RUNNING" = 1 ]; then
	[ "$STAGE" = 1 ] || run vm-no-state no_state
	# In the second kernel, KVM can be used although a vCPU ran at the kexec.
	run "vm-start-$STAGE" start_guest
	if [ "$STAGE" != "$STAGES" ]; then
		next_kernel
		go
	fi
	return 0
fi
[ -z "$VM_WITHOUT" ] || [ "$STAGE" = 1 ] || {
	run vm-other-processor other_processor
	return 0
}
case "$STAGE" in
1)
	run vm-start start_guest
	[ "$VM_BRIEF" = 1 ] || run vm-kexec-refused refused
	[ "$VM_BRIEF" = 1 ] || run vm-client-killed killed
	;;
*)
	[ "$STAGE$VM_DAMAGED" != 21 ] || run vm-damaged-states damaged_states
	run "vm-resume-$STAGE" resume_guest
	run "vm-one-life-$STAGE" one_life
	run "vm-clock-$STAGE" clock_right
	run "vm-frames-$STAGE" same_frames
	;;
esac
if [ "$VM_DEMO" = 1 ]; then
	run "vm-console-$STAGE" converses
else
	run "vm-console-$STAGE" talks
fi
[ "$VM_PAGES" != thp ] || run "vm-huge-pages-$STAGE" huge_pages
if [ "$STAGE" = "$STAGES" ]; then
	[ "$VM_DEMO" = 1 ] || sed 's/^/# /' $SERIAL
else
	# The next kernel hides a feature of the processor.
	[ -z "$VM_WITHOUT" ] || vm_words "clearcpuid=$VM_WITHOUT"
	[ "$VM_FAST" = 0 ] || vm_fast
	next_kernel
	vm_go
fi
