# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_generate.c on the debug kernel, for five minutes.
#
# debug: only
# stages: 2
# memory: 2G
# timeout: 300
# kernels: debug-7.3
# cmdline: LUO_GENERATE_SECONDS=300

PROGRAM=kexec_generate
. /scenarios/kexec.sh
