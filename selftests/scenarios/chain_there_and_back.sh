# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# From the C implementation to the module and back.
#
# stages: 3
# memory: 1G
# timeout: 180
# kernels: c-7.3 rust-7.3 c-7.3
# cmdline: liveupdate=on
# chain: yes

. /scenarios/chain.sh
