# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Damaged addresses; see forge.sh and selftests/forge/addresses.h.
#
# stages: forged addresses
# memory: 512M
# timeout: 600
# kernels: rust-7.3
# cpus: 1
# initramfs: forge

FORGE_GROUP=addresses
. /scenarios/forge.sh
