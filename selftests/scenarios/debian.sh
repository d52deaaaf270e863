# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The agent lud as a service of systemd, in a Debian. systemd keeps its file descriptors
# when it is killed or stopped, and stops everything else before the kexec.

. /usr/lib/liveupdate/guest.sh

VM=1000
OTHER=1002

# The client expects the socket of the scenario lud.
mkdir -p /run/lud
ln -s /run/lud.sock /run/lud/lud.sock

lud_pid()
{
	systemctl show -P MainPID lud.service
}

runs()
{
	systemctl start lud.service && systemctl is-active lud.socket lud.service &&
		[ "$(systemctl show -P NFileDescriptorStore lud.service)" -ge 3 ]
}

creates()
{
	lud_client $VM create vm-1 first && lud_client $VM list ">vm-1:$VM"
}

# killed: systemd starts the agent again, with the sessions that it kept.
killed()
{
	before=$(lud_pid)
	systemctl kill -s KILL lud.service
	# The client waits at the socket, which is systemd's.
	lud_client $VM open vm-1 && [ "$(lud_pid)" != "$before" ]
}

stopped()
{
	systemctl stop lud.service
	[ "$(lud_pid)" = 0 ] && systemctl start lud.service && lud_client $VM open vm-1
}

reloaded()
{
	before=$(lud_pid)
	systemctl reload lud.service && lud_client $VM list ">vm-1:$VM" &&
		[ "$(lud_pid)" = "$before" ]
}

# confined: what the unit asks for is in force. CAP_SYS_RESOURCE is the one capability.
confined()
{
	expect=$(printf 'CapEff:\t0000000001000000\nNoNewPrivs:\t1\nSeccomp:\t2\n')
	got=$(grep -E '^(CapEff|NoNewPrivs|Seccomp):' "/proc/$(lud_pid)/status")
	echo "$got" | sed 's/^/# /'
	[ "$got" = "$expect" ]
}

logged()
{
	journalctl -u lud.service -o cat --no-pager | sed 's/^/# /'
	journalctl -u lud.service --no-pager | grep -q 'vm-1'
}

crossed()
{
	lud_client $OTHER refused peek vm-1 'no rule of the policy' &&
		lud_client $VM take vm-1 first && lud_client $VM list ''
}

stage()
{
	run "debian-runs-$STAGE" runs
	case "$STAGE" in
	1)
		run debian-creates creates
		run debian-confined confined
		run debian-reloaded reloaded
		run debian-killed killed
		run debian-stopped stopped
		run debian-logged logged
		;;
	*)
		run debian-crossed crossed
		;;
	esac
	if [ "$STAGE$FAILED" = 10 ]; then
		next_kernel
		echo "=== stage $STAGE kexec"
		flush
		systemctl kexec
		return 0
	fi
	[ "$FAILED" = 0 ] || {
		echo "scenario debian failed in stage $STAGE"
		systemctl status lud.service lud.socket --no-pager | sed 's/^/# /'
		journalctl -b --no-pager | tail -n 60 | sed 's/^/# /'
	}
	echo "=== stage $STAGE end $FAILED"
	flush
	systemctl poweroff --force --force
}

stty -F "$REPORT" raw -echo
stage </dev/null >"$REPORT" 2>&1
