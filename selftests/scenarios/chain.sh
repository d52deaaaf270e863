# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# The same cargo through as many kexecs as the scenario asks for.
#
# hidden: yes

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
for program in ${CHAIN_PROGRAMS:-kexec_cargo}; do
	run "$program-$STAGE" "/selftests/ours/$program" "$STAGE"
done
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check chain-accounting
else
	go
fi
