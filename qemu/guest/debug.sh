# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# What a debug kernel is asked about at the end of a scenario: reports that it
# makes only when it is asked. On other kernels there is nothing to ask. What
# goes to the log by itself is judged by the host.

KMEMLEAK=/sys/kernel/debug/kmemleak

if [ -f "$KMEMLEAK" ]; then
	# No scan but those that are asked for: one takes a quarter of a minute.
	echo scan=off >"$KMEMLEAK"
	# The accounting is coarse here. KASAN keeps freed objects for a while (at
	# most a 32nd of the memory), and larger objects make slabs grow in larger
	# steps. What the module allocates itself is counted by pages_of_module.
	ACCOUNTING_AVAILABLE=16384
	ACCOUNTING_CHARGE=1024
	export LUO_TOLERATE_PAGES=$ACCOUNTING_AVAILABLE
	# The kernel takes ten times as long for each.
	export MALFORMED_CALLS=200000
fi

is_debug_kernel()
{
	[ -f "$KMEMLEAK" ]
}

# pages_of_module: how many pages are allocated that it asked for itself.
pages_of_module()
{
	awk -v RS= '/\[liveupdate\]/ { for (i = 1; i < NF; i++)
		if ($i == "nr_base_pages:") pages += $(i + 1) }
		END { print pages + 0 }' \
		/sys/kernel/debug/page_owner_stacks/show_stacks
}

# An object that is not referenced counts from the second scan on that finds it
# so, and when it is five seconds old.
no_leaks()
{
	sleep 5
	echo scan >"$KMEMLEAK"
	echo scan >"$KMEMLEAK"
	awk -v RS='unreferenced object' '/\[liveupdate\]/ { print; leaks++ }
		END { exit leaks > 0 }' "$KMEMLEAK" | sed 's/^/# /' >/tmp/leaks
	cat /tmp/leaks
	[ ! -s /tmp/leaks ]
}

debug_check()
{
	! is_debug_kernel || run kmemleak no_leaks
}
