# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_unknown.c: a handler that only the module of the first kernel has.
#
# stages: 2
# memory: 768M
# timeout: 60
# kernels: rust-7.3

# The log has a line about each of the first damaged files, and one about the rest.
log_is_bounded()
{
	told=$(dmesg | grep -c 'file 0x[0-9a-f]* of session .* is refused: ')
	more=$(dmesg | grep -c 'session .*: further damaged files are not logged')
	echo "# lines of the log about one file: $told, about more of them: $more"
	[ "$told" -eq 16 ] && [ "$more" -eq 1 ]
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
