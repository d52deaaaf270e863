# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The same memfds go through as many kexecs as the scenario asks for. Each
# kernel runs the programs that $CHAIN_PROGRAMS names, separated by commas.

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
for program in $(echo "${CHAIN_PROGRAMS:-kexec_cargo}" | tr , ' '); do
	run "$program-$STAGE" "/selftests/ours/$program" "$STAGE"
done
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check chain-accounting
else
	go
fi
