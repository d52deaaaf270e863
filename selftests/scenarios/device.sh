# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Network cards that go on receiving while one kernel replaces another, in each kexec of
# the run. selftests/nic.c drives them, and the runner's witness sends packets to them.
#
# DEVICE_CARDS      number of cards (default 1)
# DEVICE_ONE_TABLE  1: one page table for all of them
# DEVICE_APART      1: a process for each card, and the last card is attached to the
#                   address space itself
# DEVICE_IOMMUFD    keep: the iommufd crosses each kexec, too; drop: but the last kernel
#                   closes it before it uses a card
# DEVICE_REFUSED    stray: a kexec is refused while a card can write to memory that no
#                   session preserves; memory: the same for the memory of the card itself;
#                   iommufd: the same with all that an iommufd cannot cross with
# DEVICE_DISCARD    1: the next kernel discards the session, then uses the cards anew

# EBUSY, in numbers
BUSY=16

# nic WORD...
nic()
{
	/selftests/ours/nic "$@" --cards "${DEVICE_CARDS:-1}" \
		${DEVICE_ONE_TABLE:+--one-table} ${DEVICE_APART:+--apart --to-space} \
		${DEVICE_IOMMUFD:+--keep-iommufd}
}

start_card()
{
	case "${DEVICE_REFUSED:-}" in
	memory) nic start device.1 --without-memory ;;
	iommufd) nic start device.1 --preserve-nothing ;;
	*) nic start device.1 ;;
	esac
}

# resume_last: nothing is preserved again.
resume_last()
{
	if [ "${DEVICE_IOMMUFD:-}" = drop ]; then
		nic resume "device.$((STAGE - 1))" --drop-iommufd
	else
		nic resume "device.$((STAGE - 1))"
	fi
}

# refused_kexec: it fails, and the cards go on.
refused_kexec()
{
	case "${DEVICE_REFUSED:-}" in
	stray)
		run stray nic tell stray
		run refused nic refused $BUSY
		run check-refused nic tell check
		run unstray nic tell unstray
		;;
	memory)
		run refused nic refused $BUSY
		run check-refused nic tell check
		run preserve nic tell preserve
		;;
	iommufd)
		run obstacles nic tell obstacles
		;;
	esac
}

# discarded: nobody can open a card until its session is discarded. The pause is for the
# witness, which sees whether packets still land.
discarded()
{
	run closed nic closed
	run discard nic discard device.1
	sleep 2
	run start-again nic start -
}

run "load-$STAGE" load_handlers
if [ "$STAGE" = 1 ]; then
	run start start_card
elif [ "${DEVICE_DISCARD:-}" = 1 ]; then
	discarded
elif [ "$STAGE" = "$STAGES" ]; then
	run "resume-$STAGE" resume_last
else
	run "resume-$STAGE" nic resume "device.$((STAGE - 1))" "device.$STAGE"
fi
run "check-$STAGE" nic tell check
if [ "$STAGE" = "$STAGES" ]; then
	run end nic tell end
	run unload-handlers unload_handlers
	run unload rmmod liveupdate
else
	next_kernel
	[ "$STAGE" != 1 ] || refused_kexec
	go
fi
