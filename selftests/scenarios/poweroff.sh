# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Turning the machine off with live sessions is nothing special.
#
# stages: 1
# memory: 1G
# timeout: 60
# kernels: rust-7.3

load_module
run preserve /selftests/upstream/luo_kexec_simple -s 1
