# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A card whose DMA cannot go on through a kexec: preserving it fails, and it goes on.

# not_preserved: fails with EOPNOTSUPP.
not_preserved()
{
	said=$(/selftests/ours/nic start device.1)
	echo "$said"
	case "$said" in
	*"preserve the device: Operation not supported"*) ;;
	*) return 1 ;;
	esac
}

run load load_module_checked
run load-handler insmod "$(module_path liveupdate_vfio)"
run not-preserved not_preserved
run start /selftests/ours/nic start -
run check /selftests/ours/nic tell check
run end /selftests/ours/nic tell end
run unload-handler rmmod liveupdate_vfio
run unload rmmod liveupdate
