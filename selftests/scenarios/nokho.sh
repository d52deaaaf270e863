# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Without Kexec HandOver the module does not load, and logs why.

insmod_refused()
{
	if output=$(insmod /lib/liveupdate.ko 2>&1); then
		echo "# insmod succeeded"
		return 1
	fi
	echo "# insmod: $output"
	echo "$output" | grep -qi 'not supported'
}

run insmod-refused insmod_refused
run logs-why sh -c 'dmesg | grep -i "liveupdate.*kho"'
