# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# What all the handover scenarios do, between whichever kernels they name: the
# multi-stage programs of the kernel and ours, all of them over one kexec.
# LUO_LEAVE_OUT names the cases that one of the sides is known to answer
# differently; the scenario says why.
#
# hidden: yes

handover()
{
	for program in luo_multi_session luo_stress_files; do
		run "$program-$STAGE" "/selftests/upstream/$program" -s "$STAGE"
	done
	for program in kexec_memfd kexec_sessions; do
		run "$program-$STAGE" "/selftests/ours/$program" "$STAGE"
	done
}

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
handover
[ "$STAGE" = "$STAGES" ] || go
