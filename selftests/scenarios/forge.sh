# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Walks through the cases of the group $FORGE_GROUP, which has a header of that
# name beside the source of forge.ko. Odd boots look at what the boot before
# left behind, then forge the state of the next case. Even boots look at that
# state. So each case starts from a kernel that no earlier case has damaged.

forged=/selftests/ours/forged
state=/host/forge

# The program loads this module again.
LUO_MODULE=$(module_path liveupdate)
export LUO_MODULE

# The address of this kernel's code; every other kernel has the same one.
code_address()
{
	sed -n 's/^ *\([0-9a-f]*\)-.* : Kernel code$/0x\1/p' /proc/iomem
}

# label WHAT: a name for a result, made of the first case of this boot ($now).
label()
{
	echo "${now%%,*}-$1"
}

forge()
{
	image=$(cat "$state.image" 2>/dev/null || code_address)
	insmod "$(module_path forge)" "case=$1" "image=$image" || return 1
	cat /sys/module/forge/parameters/value >"$state.value"
}

if [ $((STAGE % 2)) = 1 ]; then
	if [ "$STAGE" -gt 1 ]; then
		now=$("$forged" names "$FORGE_GROUP" $((STAGE - 2)))
		load_module
		run "$(label after)" "$forged" "$now" 2
		rmmod liveupdate
	fi
	if [ "$STAGE" -lt "$STAGES" ]; then
		now=$("$forged" names "$FORGE_GROUP" "$STAGE")
		next_kernel
		run "$(label forge)" forge "$now"
	fi
else
	now=$("$forged" names "$FORGE_GROUP" "$STAGE")
	code_address >"$state.image"
	next_kernel
	load_module
	FORGED=$(cat "$state.value") run "$(label look)" "$forged" "$now" 1
fi

# The host counts the failure; the next case may tell more.
if [ "$STAGE" -lt "$STAGES" ]; then
	FAILED=0
	go
fi
