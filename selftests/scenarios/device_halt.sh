# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The machine halts while a card is preserved, and no kexec was prepared. The witness sees
# whether anything writes to its memory afterwards.

run load load_handlers
run start /selftests/ours/nic start device.1
run check /selftests/ours/nic tell check
echo "NIC 0 halting"
