# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Ten kexecs that alternate between the two implementations.
#
# stages: 11
# memory: 1G
# timeout: 660
# kernels: rust-7.3 c-7.3 rust-7.3 c-7.3 rust-7.3 c-7.3 rust-7.3 c-7.3 rust-7.3 c-7.3 rust-7.3
# cmdline: liveupdate=on
# chain: yes

. /scenarios/chain.sh
