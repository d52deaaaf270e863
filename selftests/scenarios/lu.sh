# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The command lu of userspace/: it lists the sessions of a program, finds what a
# kexec would lose, and enters the next kernel, where the sessions arrive.

LU=/userspace/lu
AGENT=example-agent

# lu_says STATUS PATTERN ARGUMENT...: the exit status of lu, and a line of its
# output, which is shown if either is wrong.
lu_says()
{
	expected=$1
	pattern=$2
	shift 2
	status=0
	"$LU" "$@" >/tmp/lu.out 2>&1 || status=$?
	if [ "$status" != "$expected" ] || ! grep -qE -- "$pattern" /tmp/lu.out; then
		echo "# lu $*: exit status $status, expected $expected and \"$pattern\":"
		sed 's/^/# /' /tmp/lu.out
		return 1
	fi
}

# agent_waits: start the program that preserves two files, of which one has a page,
# and keeps its session.
agent_waits()
{
	/userspace/agent >/tmp/agent &
	for _ in $(seq 60); do
		! grep -q 'waits for the kexec' /tmp/agent || return 0
		sleep 0.5
	done
	sed 's/^/# /' /tmp/agent
	return 1
}

without_module()
{
	lu_says 1 'lu: this kernel has no live update' ls &&
		lu_says 1 '^loss +device' check
}

without_debugfs()
{
	umount /sys/kernel/debug || return 1
	lu_says 1 'debugfs is not mounted' ls
	status=$?
	mount -t debugfs debugfs /sys/kernel/debug
	return "$status"
}

lists()
{
	lu_says 0 "^$AGENT +outgoing +open +2 +4\.0 KiB .* agent +-\$" ls &&
		lu_says 0 "\"name\": \"$AGENT\"" ls --json &&
		lu_says 0 '"pages": 1,' ls --json &&
		lu_says 0 '"command": "agent"' ls --json &&
		lu_says 0 '^  file +0x1 memfd-v2 preserved$' show "$AGENT" &&
		lu_says 0 '^  holder +[0-9]+ agent, fd [0-9]+$' show "$AGENT" &&
		lu_says 1 'there is no session "nobody"' show nobody &&
		lu_says 0 '^memfd-v2 +liveupdate +0$' handlers &&
		lu_says 0 '^outgoing +1 session, 2 files' status
}

# The names of the fields are an interface: jq is not here, so look for each.
fields()
{
	"$LU" ls --json >/tmp/lu.json || return 1
	for field in name direction state files pages bytes pieces age creator pid \
		command unit alive holders fd; do
		grep -q "\"$field\":" /tmp/lu.json || {
			echo "# no field $field:"
			sed 's/^/# /' /tmp/lu.json
			return 1
		}
	done
	rm /tmp/lu.json
}

no_image()
{
	lu_says 1 '^loss +image +no image is loaded' check &&
		lu_says 1 '"result": "loss"' check --json &&
		# Nothing is entered.
		lu_says 1 'nothing was loaded' kexec
}

next_cmdline()
{
	sed "s/lu\.stage=[0-9]*/lu.stage=$((STAGE + 1))/" /proc/cmdline
}

# lu_kexec ARGUMENT...: with the kernel of the next stage.
lu_kexec()
{
	"$LU" kexec --kernel "/host/kernels/$(kernel_of $((STAGE + 1)))" \
		--initrd /host/initramfs.cpio "$@"
}

image_is_good()
{
	next_kernel && lu_says 0 '^good +image +an image is loaded' check &&
		lu_says 0 '^a kexec would carry everything' check &&
		kexec -s -u
}

dry_run()
{
	lu_kexec --command-line "$(next_cmdline)" --dry-run >/tmp/lu.out || return 1
	sed 's/^/# /' /tmp/lu.out
	grep -q "^kexec -s -l /host/kernels/.* '--command-line=.*lu.stage=2" /tmp/lu.out &&
		grep -qx 'kexec -x -e' /tmp/lu.out &&
		# It has run none of them.
		grep -qx 0 /sys/kernel/kexec_loaded || return 1
	! lu_kexec --command-line 'console=ttyS0' --dry-run 2>/tmp/lu.out >/dev/null &&
		grep -q 'does not have "kho=on"' /tmp/lu.out
}

came_in()
{
	lu_says 0 "^$AGENT +incoming +pending +2 +-" ls &&
		lu_says 1 "^loss +incoming +session $AGENT came in with 2 files" check &&
		lu_says 0 '^incoming +1 session, 2 files, 1 not finished' status &&
		lu_says 0 'its files are not listed' show "$AGENT"
}

went_on()
{
	agent_waits && grep -q '^kernel 2 of this agent; counted to [1-9]' /tmp/agent &&
		lu_says 0 "^$AGENT +outgoing +open +2 " ls
}

if [ "$STAGE" = 1 ]; then
	run lu-without-module without_module
	load_module
	run lu-agent agent_waits
	run lu-without-debugfs without_debugfs
	run lu-lists lists
	run lu-fields fields
	run lu-check-no-image no_image
	run lu-check-image image_is_good
	run lu-dry-run dry_run
	[ "$FAILED" = 0 ] || return 1
	echo "=== stage $STAGE kexec"
	flush
	# Not to the port itself, which is a terminal: lu would show its progress.
	lu_kexec --command-line "$(next_cmdline)" >/tmp/lu.out 2>&1
	cat /tmp/lu.out
	fail "lu kexec returned in stage $STAGE"
else
	load_module
	run lu-came-in came_in
	run lu-went-on went_on
	killall agent
	rm -f /tmp/agent /tmp/lu.out
	run unload rmmod liveupdate
fi
