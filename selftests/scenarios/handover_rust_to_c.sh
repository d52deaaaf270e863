# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# What this module leaves, the C implementation takes.
#
# stages: 2
# memory: 2G
# timeout: 240
# kernels: rust-7.3 c-7.3
# cmdline: liveupdate=on

# The C implementation finishes a session whose retrieval cannot be answered.
export LUO_LEAVE_OUT="fault"

. /scenarios/handover.sh
