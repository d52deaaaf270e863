# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# One kexec from each kernel of qemu/kernels to each of them, with the
# multi-stage programs of the kernel and ours on both sides.

# What the two implementations answer differently, and a case therefore cannot ask.
case "$(kernel_of 1)" in
c-*)
	LUO_LEAVE_OUT="late_seals vast"
	LUO_LEAVE_OUT_WHY="the C implementation writes down the seals at preserve, \
and allocates all of a file"
	;;
esac
case "$(kernel_of 2)" in
c-*)
	LUO_LEAVE_OUT="${LUO_LEAVE_OUT:-} fault"
	LUO_LEAVE_OUT_WHY="${LUO_LEAVE_OUT_WHY:+$LUO_LEAVE_OUT_WHY; }the C \
implementation finishes a session whose retrieval cannot be answered"
	;;
esac
export LUO_LEAVE_OUT LUO_LEAVE_OUT_WHY

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
for program in luo_multi_session luo_stress_files; do
	run "$program-$STAGE" "/selftests/upstream/$program" -s "$STAGE"
done
for program in kexec_memfd kexec_sessions kexec_cargo; do
	run "$program-$STAGE" "/selftests/ours/$program" "$STAGE"
done
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check handover-accounting
else
	go
fi
