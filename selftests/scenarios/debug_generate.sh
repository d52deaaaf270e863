# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_generate.c on the debug kernel, for five minutes.
#
# hidden: yes
# stages: 2
# memory: 4G
# timeout: 900
# kernels: debug-7.3
# cmdline: kho_scratch=64M,512M,256M LUO_GENERATE_SECONDS=300

PROGRAM=kexec_generate
. /scenarios/kexec.sh
