# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# There and back twice, with sessions that change on the way as well.
#
# stages: 4
# memory: 1G
# timeout: 240
# kernels: c-7.3 rust-7.3 c-7.3 rust-7.3
# cmdline: liveupdate=on
# chain: yes

CHAIN_PROGRAMS="kexec_cargo kexec_thrice"
. /scenarios/chain.sh
