# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Every program of ours that needs one boot only, with the accounting checked
# after each.

load_module
for program in /selftests/ours/*; do
	name=${program##*/}
	case "$name" in
	kexec_* | test_* | fault_* | demo | forged | limits | soak) continue ;;
	esac
	# It counts what is free, of which a debug kernel is too unsure.
	[ "$name" != accounting ] || ! is_debug_kernel || continue
	run_accounted "$name" "$program"
done
