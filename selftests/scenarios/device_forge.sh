# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A network card is preserved in each boot, and the runner damages what crosses for it
# (qemu/runner/forger.py). /host/forged has a line for each kexec: the name of its case,
# then "resume" if the card goes on, or "forged ERRNO" as in selftests/nic.c.

nic()
{
	/selftests/ours/nic "$@"
}

load_handler()
{
	load_module_checked && insmod "$(module_path liveupdate_vfio)"
}

# judge_case NAME resume | judge_case NAME forged ERRNO
judge_case()
{
	if [ "$2" = resume ]; then
		nic resume "device.$((STAGE - 1))" && nic tell check && nic tell end
	else
		nic forged "device.$((STAGE - 1))" "$3"
	fi
}

# For the runner, which needs the place of the next kernel: that is the same each time.
sed -n 's/^ *\(.*\) : Kernel code/KERNEL \1/p' /proc/iomem
run "load-$STAGE" load_handler
if [ "$STAGE" -gt 1 ]; then
	# shellcheck disable=SC2046 # words
	set -- $(sed -n "$((STAGE - 1))p" /host/forged)
	run "$1" judge_case "$@"
	# The runner has counted a failure. The other cases run nevertheless.
	FAILED=0
fi
if [ "$STAGE" -lt "$STAGES" ]; then
	run "start-$STAGE" nic start "device.$STAGE"
	run "check-$STAGE" nic tell check
	next_kernel
	go
else
	run start nic start -
	run check nic tell check
	run end nic tell end
	run unload-handler rmmod liveupdate_vfio
	run unload rmmod liveupdate
fi
