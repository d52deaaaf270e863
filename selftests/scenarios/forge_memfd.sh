# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Damaged memfds; see forge.sh and selftests/forge/memfd.h.
#
# debug: yes
# stages: forged memfd
# memory: 512M
# timeout: 480
# kernels: rust-7.3
# cpus: 1
# initramfs: forge

FORGE_GROUP=memfd
. /scenarios/forge.sh
