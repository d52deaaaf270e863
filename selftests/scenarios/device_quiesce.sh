# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A card whose DMA cannot go on through a kexec, with a module that may stop such cards:
# its file comes back in the next kernel, and the card is reset.

nic()
{
	/selftests/ours/nic "$@"
}

load_handler()
{
	load_module_checked && insmod "$(module_path liveupdate_vfio)" quiesce=1
}

# reset_by_bus: the kernel's first choice, power management, leaves the registers of
# QEMU's card as they are. The next kernel keeps that choice, so that only the reset of
# the old one counts.
reset_by_bus()
{
	for device in /sys/bus/pci/drivers/vfio-pci/0*; do
		echo "# $device: instead of $(cat "$device/reset_method")"
		echo bus >"$device/reset_method" || return 1
	done
}

run "load-$STAGE" load_handler
if [ "$STAGE" = 1 ]; then
	run start nic start device.1 --quiesced
	run check nic tell check
	run reset-by-bus reset_by_bus
	echo "# the kernel log must match: liveupdate_vfio: .*: its DMA cannot go on, so it is stopped"
	next_kernel
	echo "NIC 0 halting"
	go
else
	run closed nic closed
	run restart nic restart device.1
	run check nic tell check
	run end nic tell end
	run unload-handler rmmod liveupdate_vfio
	run unload rmmod liveupdate
fi
