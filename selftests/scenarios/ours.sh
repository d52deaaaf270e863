# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Each of our programs that needs one boot only. No program may lose memory.

load_module
for program in /selftests/ours/*; do
	name=${program##*/}
	case "$name" in
	# They have scenarios of their own.
	debugfs | nic | registration) continue ;;
	kexec_* | test_* | fault_* | handler_* | demo | forged | image_* | limits | soak) continue ;;
	esac
	# It counts free memory, which moves too much on a debug kernel.
	[ "$name" != accounting ] || ! is_debug_kernel || continue
	run_accounted "$name" "$program"
done
