# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A network card is preserved in each boot, and the runner damages what crosses for it
# (qemu/runner/forger.py). /host/forged has a line for each kexec: the name of its case,
# then "resume" if the card goes on, or how it comes back otherwise: a word of
# selftests/nic.c that begins with "forged", and the error that this word expects.
#
# DEVICE_IOMMUFD  keep: the iommufd crosses each kexec, too

nic()
{
	/selftests/ours/nic "$@" ${DEVICE_IOMMUFD:+--keep-iommufd}
}

# judge_case NAME WORD [ERRNO]: only after "forged" no process drives the card.
judge_case()
{
	nic "$2" "device.$((STAGE - 1))" ${3:+"$3"} || return 1
	[ "$2" = forged ] || { nic tell check && nic tell end; }
}

# For the runner, which needs the place of the next kernel: that is the same each time.
sed -n 's/^ *\(.*\) : Kernel code/KERNEL \1/p' /proc/iomem
run "load-$STAGE" load_handlers
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
	run unload-handlers unload_handlers
	run unload rmmod liveupdate
fi
