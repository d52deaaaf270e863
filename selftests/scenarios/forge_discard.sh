# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Damaged memfds that nobody retrieves: they are refused when their session is
# finished. See forge.sh and selftests/forge/memfd.h.
#
# stages: forged memfd
# memory: 512M
# timeout: 480
# kernels: rust-7.3
# cpus: 1
# initramfs: forge

FORGE_GROUP=memfd
export FORGED_DISCARD=1
. /scenarios/forge.sh
