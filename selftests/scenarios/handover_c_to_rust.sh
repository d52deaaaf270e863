# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# What the C implementation leaves, this module takes.
#
# stages: 2
# memory: 2G
# timeout: 240
# kernels: c-7.3 rust-7.3
# cmdline: liveupdate=on

# The C implementation writes down the seals at preserve, not at the kexec.
export LUO_LEAVE_OUT="late_seals"

. /scenarios/handover.sh
