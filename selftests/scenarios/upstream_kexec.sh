# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# A two-stage program of the kernel's own selftests (lu.program=), unmodified.

load_module
case "$STAGE" in
1)
	next_kernel
	run "$PROGRAM-1" "/selftests/upstream/$PROGRAM" -s 1
	go
	;;
2)
	accounting_start
	run "$PROGRAM-2" "/selftests/upstream/$PROGRAM" -s 2
	accounting_check "$PROGRAM-accounting"
	;;
esac
