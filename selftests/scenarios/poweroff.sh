# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Turning the machine off with live sessions is nothing special.

load_module
run preserve /selftests/upstream/luo_kexec_simple -s 1
