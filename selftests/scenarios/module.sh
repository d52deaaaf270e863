# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The module loads, unloads and loads again. It does not unload while the device
# is open.

not_while_open()
{
	exec 9<>/dev/liveupdate
	if rmmod liveupdate; then
		echo "# rmmod succeeded while the device was open"
		exec 9>&-
		return 1
	fi
	exec 9>&-
	[ -c /dev/liveupdate ]
}

no_device()
{
	[ ! -e /dev/liveupdate ]
}

again_and_again()
{
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		insmod "$(module_path liveupdate)" || return 1
		rmmod liveupdate || return 1
	done
}

run insmod load_module_checked
run rmmod-refused-while-open not_while_open
run rmmod rmmod liveupdate
run no-device-left no_device
accounting_start
run insmod-rmmod-again again_and_again
accounting_check reload-accounting
