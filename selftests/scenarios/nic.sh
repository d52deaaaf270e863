# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The driver of selftests/nic.c in one kernel, without a session.

NIC=/selftests/ours/nic

# long_check: after the witness has sent more packets than the ring has descriptors.
long_check()
{
	sleep 10
	$NIC tell check
}

run start $NIC start -
run check $NIC tell check
run long-check long_check
run end $NIC tell end
