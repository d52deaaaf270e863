# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Loading and unloading while other processes open the device all the time: rmmod
# succeeds or reports that the module is in use; open succeeds or finds no device.

open_again_and_again()
{
	while [ -e /tmp/racing ]; do
		# Fails if the device is open or absent. (Not <>: that creates a file.)
		(: 9</dev/liveupdate) 2>/dev/null
	done
}

load_and_unload()
{
	unloaded=0
	for _ in $(seq 60); do
		[ -d /sys/module/liveupdate ] || insmod /lib/liveupdate.ko || return 1
		if rmmod liveupdate 2>/dev/null; then
			unloaded=$((unloaded + 1))
		fi
	done
	echo "# unloaded $unloaded times of 60"
	[ "$unloaded" -gt 0 ]
}

race()
{
	: >/tmp/racing
	for _ in 1 2 3; do
		open_again_and_again &
	done
	status=0
	load_and_unload || status=1
	rm /tmp/racing
	wait
	return "$status"
}

works_again()
{
	[ -d /sys/module/liveupdate ] || insmod /lib/liveupdate.ko || return 1
	# Exits 0 only if the device opens.
	/selftests/upstream/luo_kexec_simple -s 1
}

run insmod-rmmod-open race
run works-again works_again
