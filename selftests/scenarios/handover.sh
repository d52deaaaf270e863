# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# One kexec from a kernel to another one, with multi-stage programs of the kernel
# and ours on both sides. The runner makes a scenario for each pair of kernels.

# Leave out cases that the C implementation is known to answer differently.
case "$(kernel_of 1)" in
c-*)
	LUO_LEAVE_OUT="late_seals vast"
	LUO_LEAVE_OUT_WHY="the C implementation serializes seals at preserve, and \
fills the holes of a file"
	;;
esac
case "$(kernel_of 2)" in
c-*)
	LUO_LEAVE_OUT="${LUO_LEAVE_OUT:-} fault"
	LUO_LEAVE_OUT_WHY="${LUO_LEAVE_OUT_WHY:+$LUO_LEAVE_OUT_WHY; }the C \
implementation finishes a session if it cannot return the fd"
	;;
esac
export LUO_LEAVE_OUT LUO_LEAVE_OUT_WHY

load_module
[ "$STAGE" = "$STAGES" ] || next_kernel
accounting_start
for program in luo_multi_session luo_stress_files; do
	run "$program-$STAGE" "/selftests/upstream/$program" -s "$STAGE"
done
for program in kexec_memfd kexec_seals kexec_sparse kexec_sessions kexec_cargo; do
	run "$program-$STAGE" "/selftests/ours/$program" "$STAGE"
done
run "crate-$STAGE" /userspace/crate_stages "$STAGE"
if [ "$STAGE" = "$STAGES" ]; then
	accounting_check handover-accounting
else
	go
fi
