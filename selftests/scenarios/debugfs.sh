# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The lists in debugfs: selftests/debugfs.c, the handler and the FLB of another
# module, and that the module does not unload while a list is open.

LISTS=/sys/kernel/debug/liveupdate

# has LIST LINE: whether the list has that line.
has()
{
	if ! grep -qxF "$2" "$LISTS/$1"; then
		echo "# no line \"$2\" in $1:"
		sed 's/^/# /' "$LISTS/$1"
		return 1
	fi
}

with_another_module()
{
	insmod "$(module_path number)" || return 1
	has handlers "number-v1 number 1" || return 1
	has flbs "number-flb-v1 outgoing unused 0 0 number" || return 1
	rmmod number || return 1
	! grep -q number "$LISTS/handlers" "$LISTS/flbs"
}

not_while_read()
{
	exec 9<"$LISTS/sessions"
	read -r line <&9
	echo "# $line"
	if rmmod liveupdate; then
		echo "# rmmod succeeded while a list was open"
		exec 9<&-
		return 1
	fi
	read -r line <&9
	exec 9<&-
}

gone()
{
	rmmod liveupdate && [ ! -e "$LISTS" ]
}

# One process reads all the time while the module is loaded and unloaded.
race()
{
	: >/tmp/racing
	while [ -e /tmp/racing ]; do
		cat "$LISTS/sessions" "$LISTS/handlers" "$LISTS/flbs"
	done >/dev/null 2>&1 &
	unloaded=0
	for _ in $(seq 30); do
		[ -d /sys/module/liveupdate ] ||
			insmod "$(module_path liveupdate)" || break
		rmmod liveupdate 2>/dev/null && unloaded=$((unloaded + 1))
	done
	rm /tmp/racing
	wait
	echo "# unloaded $unloaded times of 30"
	[ "$unloaded" -gt 0 ]
}

load_module
run_accounted debugfs /selftests/ours/debugfs
run with-another-module with_another_module
run rmmod-refused-while-read not_while_read
run rmmod gone
run insmod-rmmod-read race
