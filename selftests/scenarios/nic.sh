# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The driver of selftests/nic.c in one kernel, without a session. $NIC_CARDS is the number
# of cards.

# nic WORD...
nic()
{
	/selftests/ours/nic "$@" --cards "${NIC_CARDS:-1}" --one-table
}

# long_check: after the witness has sent more packets than the ring has descriptors.
long_check()
{
	sleep 10
	nic tell check
}

run start nic start -
run check nic tell check
run long-check long_check
run end nic tell end
