# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The agent lud of userspace/, with a service manager that keeps its file descriptors.
# Users without privileges preserve through it, and retrieve in the next kernel. The
# agent is killed at every step.

CLIENT=/userspace/lud_client
LUD=/run/lud
# The user of the sessions, and one with the same rights to sessions of its own. User
# 1003 may use the sessions of others, and 1004 has a rule for a cgroup.
VM=1000
OTHER=1002
RESCUE=1003
GROUPED=1004

policy()
{
	cat >$LUD/policy <<-EOF
		[[rule]]
		user = $VM
		prefix = "vm-"
		max_sessions = 12
		allow = ["create", "retrieve", "discard", "list"]

		[[rule]]
		user = $OTHER
		prefix = "vm-"
		allow = ["create", "retrieve", "discard", "list"]

		[[rule]]
		user = $RESCUE
		any_owner = true
		allow = ["retrieve"]

		[[rule]]
		user = $GROUPED
		cgroup = "/lud-vms"
		max_sessions = 1
		allow = ["create", "discard", "list"]
	EOF
}

# lud_starts: with its service manager, until it serves.
lud_starts()
{
	mkdir -p $LUD && policy || return 1
	LUD_TEST_DIE=$LUD/die /userspace/lud-supervisor $LUD /userspace/lud \
		--policy $LUD/policy >$LUD/manager 2>$LUD/log &
	for _ in $(seq 60); do
		! grep -q '^ready' $LUD/manager || return 0
		sleep 0.5
	done
	sed 's/^/# /' $LUD/log
	return 1
}

lud_ends()
{
	killall lud-supervisor
	# The accounting counts files of tmpfs, and the device must be closed.
	for _ in $(seq 60); do
		pidof lud lud-supervisor >/dev/null || break
		sleep 0.5
	done
	rm -rf $LUD
}

# dies_at POINT COMMAND...: the agent dies there while the command runs, which must
# succeed all the same.
dies_at()
{
	point=$1
	shift
	echo "$point" >$LUD/die
	if ! "$@" || [ -e $LUD/die ]; then
		echo "# with the agent killed at $point"
		sed 's/^/# /' $LUD/log
		return 1
	fi
}

unprivileged()
{
	# The normal answer after a boot without live update.
	"$CLIENT" $VM refused peek vm-1 '(errno 2)' &&
		"$CLIENT" $VM create vm-1 first &&
		# The program has ended, and the agent keeps its session.
		"$CLIENT" $VM open vm-1 &&
		"$CLIENT" $VM list ">vm-1:$VM"
}

# lu asks the agent where root would read debugfs.
lu_asks()
{
	ln -s $LUD/lud.sock /run/lud.sock
	"$CLIENT" $VM run /userspace/lu ls >$LUD/lu.out 2>&1 &&
		grep -qE '^vm-1 +outgoing +open +- +- +- ' $LUD/lu.out &&
		"$CLIENT" $OTHER run /userspace/lu ls >$LUD/lu.out 2>&1 &&
		grep -qx 'no sessions' $LUD/lu.out
	status=$?
	[ "$status" = 0 ] || sed 's/^/# /' $LUD/lu.out
	rm /run/lud.sock
	return "$status"
}

policy_refuses()
{
	no='(errno 13)'
	"$CLIENT" $VM refused create other "$no" &&
		"$CLIENT" $VM refused create lud "$no" &&
		"$CLIENT" 1001 refused create vm-2 'no rule of the policy' &&
		"$CLIENT" $OTHER refused open vm-1 'belongs to another user' &&
		"$CLIENT" $OTHER refused discard vm-1 'belongs to another user' &&
		"$CLIENT" $OTHER refused create vm-1 '(errno 17)' &&
		"$CLIENT" $OTHER list '' &&
		"$CLIENT" $RESCUE refused create vm-3 "$no" &&
		"$CLIENT" 65534 refused create vm-3 'other user namespaces'
}

# A process of another cgroup has no rule.
cgroups()
{
	mkdir -p /sys/fs/cgroup/lud-vms/one
	"$CLIENT" $GROUPED refused create g-1 'no rule of the policy' || return 1
	(
		echo 0 >/sys/fs/cgroup/lud-vms/one/cgroup.procs
		exec "$CLIENT" $GROUPED create g-1 grouped
	) && (
		echo 0 >/sys/fs/cgroup/lud-vms/one/cgroup.procs
		"$CLIENT" $GROUPED refused create g-2 'at most 1 sessions' &&
			exec "$CLIENT" $GROUPED discard g-1
	)
}

CREATE="create-made owners-half create-recorded create-stored answered"
# For these, the next kernel has a session each.
RETRIEVE="retrieve-made retrieve-child-stored retrieve-stored"
DISCARD="discard-unstored discard-closed answered"

killed_creating()
{
	for point in $CREATE; do
		dies_at "$point" "$CLIENT" $VM again "vm-$point" "$point" || return 1
	done
	for point in $RETRIEVE; do
		"$CLIENT" $VM create "vm-$point" "$point" || return 1
	done
	"$CLIENT" $VM list ">vm-1:$VM >vm-answered:$VM >vm-create-made:$VM \
>vm-create-recorded:$VM >vm-create-stored:$VM >vm-owners-half:$VM \
>vm-retrieve-child-stored:$VM >vm-retrieve-made:$VM >vm-retrieve-stored:$VM"
}

killed_discarding()
{
	for point in $DISCARD; do
		"$CLIENT" $VM create vm-x x &&
			dies_at "$point" "$CLIENT" $VM discard vm-x || return 1
	done
	# Nobody has the session, so its name is free.
	"$CLIENT" $OTHER create vm-x "of the other"
}

owners_crossed()
{
	"$CLIENT" $OTHER list "<vm-x:$OTHER" &&
		"$CLIENT" $OTHER refused peek vm-1 'belongs to another user' &&
		"$CLIENT" 1001 refused peek vm-1 'no rule of the policy' &&
		"$CLIENT" $VM refused peek vm-x 'belongs to another user'
}

retrieves()
{
	# A program that ends without finishing can come again.
	"$CLIENT" $VM peek vm-1 first &&
		"$CLIENT" $VM take vm-1 first &&
		"$CLIENT" $VM refused peek vm-1 '(errno 2)' &&
		"$CLIENT" $RESCUE take vm-x "of the other" &&
		"$CLIENT" $OTHER list ''
}

killed_retrieving()
{
	for point in $RETRIEVE; do
		dies_at "$point" "$CLIENT" $VM take "vm-$point" "$point" || return 1
	done
	"$CLIENT" $VM take vm-answered answered &&
		dies_at release-unstored "$CLIENT" $VM take vm-create-made create-made &&
		dies_at release-closed "$CLIENT" $VM take vm-create-recorded create-recorded &&
		dies_at answered "$CLIENT" $VM take vm-create-stored create-stored &&
		# Retrieved by an agent that dies before it is finished.
		"$CLIENT" $VM peek vm-owners-half owners-half &&
		killall -9 lud &&
		"$CLIENT" $VM take vm-owners-half owners-half &&
		"$CLIENT" $VM list ''
}

preserves_again()
{
	"$CLIENT" $VM create vm-1 second && "$CLIENT" $VM list ">vm-1:$VM"
}

second_kexec()
{
	"$CLIENT" $OTHER refused peek vm-1 'belongs to another user' &&
		"$CLIENT" $VM take vm-1 second &&
		"$CLIENT" $VM list ''
}

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "lud-starts-$STAGE" lud_starts
case "$STAGE" in
1)
	run lud-unprivileged unprivileged
	run lud-lu lu_asks
	run lud-policy policy_refuses
	run lud-cgroups cgroups
	run lud-killed-creating killed_creating
	run lud-killed-discarding killed_discarding
	go
	;;
2)
	run lud-owners-crossed owners_crossed
	run lud-retrieves retrieves
	run lud-killed-retrieving killed_retrieving
	run lud-preserves-again preserves_again
	go
	;;
*)
	run lud-second-kexec second_kexec
	lud_ends
	accounting_check lud-accounting
	[ ! -d /sys/module/liveupdate ] || run unload rmmod liveupdate
	;;
esac
