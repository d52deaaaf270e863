# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# From one kernel version to the next and back.
#
# stages: 3
# memory: 1G
# timeout: 180
# kernels: rust-7.2 rust-7.3 rust-7.2
# cmdline: liveupdate=on
# chain: yes

. /scenarios/chain.sh
