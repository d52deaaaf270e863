# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Checks that a debug kernel makes on request only, at the end of a scenario. On
# other kernels they do nothing. The host judges what the kernel logs by itself.

KMEMLEAK=/sys/kernel/debug/kmemleak

if [ -f "$KMEMLEAK" ]; then
	# No scans in the background: one takes a quarter of a minute.
	echo scan=off >"$KMEMLEAK"
	# The accounting is coarse here: KASAN keeps freed objects for a while (at
	# most a 32nd of the memory), and larger objects make slabs grow in larger
	# steps. pages_of_module counts what the module itself allocates.
	ACCOUNTING_AVAILABLE=16384
	ACCOUNTING_CHARGE=1024
	export LUO_TOLERATE_PAGES=$ACCOUNTING_AVAILABLE
	# Each call takes ten times as long here.
	export MALFORMED_CALLS=200000
fi

is_debug_kernel()
{
	[ -f "$KMEMLEAK" ]
}

# pages_of_module: the number of pages that the module itself has allocated.
pages_of_module()
{
	awk -v RS= '/\[liveupdate\]/ { for (i = 1; i < NF; i++)
		if ($i == "nr_base_pages:") pages += $(i + 1) }
		END { print pages + 0 }' \
		/sys/kernel/debug/page_owner_stacks/show_stacks
}

# no_leaks: kmemleak reports an object that two scans found without a reference
# and that is at least five seconds old.
no_leaks()
{
	sleep 5
	echo scan >"$KMEMLEAK"
	echo scan >"$KMEMLEAK"
	awk -v RS='unreferenced object' '
		/\[(liveupdate[_a-z]*|number|borrow)\]| (iommufd|iopt|vfio)_/ { print; leaks++ }
		END { exit leaks > 0 }' "$KMEMLEAK" | sed 's/^/# /' >/tmp/leaks
	cat /tmp/leaks
	[ ! -s /tmp/leaks ]
}

debug_check()
{
	! is_debug_kernel || run kmemleak no_leaks
}
