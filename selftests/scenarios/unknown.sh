# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_unknown.c: only the module of the first kernel has the handler.

# The log names the first 16 damaged files of a session, then says that it stops.
log_is_bounded()
{
	named=$(dmesg | grep -c 'liveupdate: .*file 0x[0-9a-f]* of session')
	ended=$(dmesg | grep -cE 'liveupdate: .*(further damaged|more) files')
	echo "# lines about one file: $named, about all further files: $ended"
	[ "$named" -eq 16 ] && [ "$ended" -eq 1 ]
}

if [ "$STAGE" = 1 ]; then
	load_module liveupdate-test
	next_kernel
	run kexec_unknown-1 /selftests/ours/kexec_unknown 1
	go
else
	load_module
	run kexec_unknown-2 /selftests/ours/kexec_unknown 2
	run log log_is_bounded
fi
