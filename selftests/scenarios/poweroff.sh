# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The machine powers off while sessions exist.

load_module
run preserve /selftests/upstream/luo_kexec_simple -s 1
