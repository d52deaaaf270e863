# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A chain of a million blocks; see forge.sh and selftests/forge/million.h.
#
# stages: forged million
# memory: 6G
# timeout: 300
# kernels: rust-7.3
# cpus: 1
# initramfs: forge

FORGE_GROUP=million
. /scenarios/forge.sh
