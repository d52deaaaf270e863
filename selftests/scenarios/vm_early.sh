# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Before anything else of a boot, the monitor of a guest that waits to be resumed.

VM_EARLY=1
. /scenarios/vm.sh
VM_EARLY=0
