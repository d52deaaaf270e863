# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Damaged memfds that several CPUs restore; see forge.sh and
# selftests/forge/pieces.h.
#
# stages: forged pieces
# memory: 1G
# timeout: 120
# kernels: rust-7.3
# initramfs: forge

FORGE_GROUP=pieces
. /scenarios/forge.sh
