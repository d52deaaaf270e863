# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Damaged chains, counts and strings; see forge.sh and selftests/forge/chains.h.
#
# stages: forged chains
# memory: 512M
# timeout: 480
# kernels: rust-7.3
# cpus: 1
# initramfs: forge

FORGE_GROUP=chains
. /scenarios/forge.sh
