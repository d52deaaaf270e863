# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Chains of the greatest length; see forge.sh and selftests/forge/long.h.
#
# stages: forged long
# memory: 2G
# timeout: 300
# kernels: rust-7.3
# cpus: 1
# initramfs: forge

FORGE_GROUP=long
. /scenarios/forge.sh
