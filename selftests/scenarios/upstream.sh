# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The kernel's own test program for the ioctls, unmodified.

load_module
accounting_start
run liveupdate /selftests/upstream/liveupdate
accounting_check liveupdate-accounting
