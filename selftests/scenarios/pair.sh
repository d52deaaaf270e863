# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# selftests/kexec_pair.c, whose files the handler of pair.ko preserves.

load_module
insmod "$(module_path pair)" || fail "insmod pair.ko failed"
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
run "kexec_pair-$STAGE" /selftests/ours/kexec_pair "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check kexec_pair-accounting
	run unload rmmod pair
	run unload rmmod liveupdate
else
	go
fi
