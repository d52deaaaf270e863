// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread of a vCPU: it runs the guest's code, and does what each exit asks for.

use std::sync::Mutex;

use kvm_bindings::{kvm_vcpu_events, KVM_INTERNAL_ERROR_DELIVERY_EV};
use kvm_ioctls::{VcpuExit, VcpuFd};
use rustix::io::Errno;

use crate::bus::{Bus, Next};
use crate::gate::{lock, Gate};
use crate::sys;

/// The signal only interrupts `KVM_RUN`.
pub extern "C" fn kicked(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Runs a vCPU whenever the gate is open. Returns when the machine ends.
pub fn run(fd: &Mutex<VcpuFd>, bus: &Bus, gate: &Gate) {
    let mut repetitions = Repetitions::default();
    while let Some(_inside) = gate.enter() {
        let mut fd = lock(fd);
        fd.set_kvm_immediate_exit(0);
        loop {
            let next = repetitions.bound(step(&mut fd, bus));
            if let Step::End(why) = next {
                gate.end(why);
                break;
            }
            if !gate.is_open() {
                // KVM completes an exit when the vCPU is entered the next time. With
                // immediate_exit it does that, runs no guest code, and answers EINTR.
                fd.set_kvm_immediate_exit(1);
                if matches!(next, Step::Interrupted) {
                    break;
                }
            }
        }
    }
}

/// What a vCPU does next.
#[derive(Debug)]
enum Step {
    Run,
    /// KVM did not emulate an access, and the guest repeats it.
    Repeat,
    /// `KVM_RUN` was interrupted, and no exit is incomplete.
    Interrupted,
    End(String),
}

/// Runs a vCPU until its next exit, and does what the exit asks for.
fn step(fd: &mut VcpuFd, bus: &Bus) -> Step {
    match fd.run() {
        Ok(VcpuExit::IoOut(port, data)) => match bus.port_write(port, data) {
            Next::Run => Step::Run,
            Next::Reset => Step::End("the guest asked for a reset".to_string()),
        },
        Ok(VcpuExit::IoIn(port, data)) => {
            bus.port_read(port, data);
            Step::Run
        }
        Ok(VcpuExit::MmioRead(address, data)) => {
            bus.memory_read(address, data);
            Step::Run
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            bus.memory_write(address, data);
            Step::Run
        }
        Ok(VcpuExit::Intr) => Step::Interrupted,
        Ok(VcpuExit::InternalError) => internal_error(fd),
        Ok(VcpuExit::Shutdown) => Step::End("the guest ended with a triple fault".to_string()),
        Ok(exit) => Step::End(format!("KVM stopped the guest: {exit:?}")),
        Err(error) => match Errno::from_raw_os_error(error.errno()) {
            Errno::INTR => Step::Interrupted,
            Errno::AGAIN => Step::Run,
            _ => Step::End(format!("KVM_RUN failed: {error}")),
        },
    }
}

/// Whether KVM stopped for an access to a device while an event is delivered, and there is no
/// such event.
///
/// QEMU's emulation of SVM leaves the type of the last exception that the guest has handled in
/// `EXITINTINFO`, without the bit that makes it valid. KVM looks at the type only. The next
/// `VMRUN` clears it, so that the access succeeds when the guest repeats it.
fn is_false_alarm(fd: &mut VcpuFd) -> bool {
    let (kind, _) = sys::internal_error(fd);
    let none = |events: kvm_vcpu_events| {
        events.exception.injected == 0 && events.interrupt.injected == 0 && events.nmi.injected == 0
    };
    kind == KVM_INTERNAL_ERROR_DELIVERY_EV && fd.get_vcpu_events().is_ok_and(none)
}

/// How often in a row a vCPU may repeat an access that KVM did not emulate. One repetition was
/// enough whenever this was seen.
const MAX_REPETITIONS: u32 = 16;

/// Counts the repetitions of an access, so that a vCPU which makes no progress ends.
#[derive(Default)]
struct Repetitions(u32);

impl Repetitions {
    /// Looks at what a vCPU does next, and ends the guest when KVM refuses the access again
    /// and again. A signal between two attempts is no progress.
    fn bound(&mut self, next: Step) -> Step {
        match next {
            Step::Repeat if self.0 == MAX_REPETITIONS => Step::End(format!(
                "KVM did not emulate an access of the guest, which repeated it {MAX_REPETITIONS} times"
            )),
            Step::Repeat => {
                self.0 += 1;
                Step::Repeat
            }
            Step::Run => {
                if self.0 > 0 {
                    tracing::info!(
                        "KVM did not emulate an access of the guest, which repeated it {} times",
                        self.0
                    );
                }
                self.0 = 0;
                Step::Run
            }
            next => next,
        }
    }
}

/// Says what is known of a guest that KVM cannot run.
fn internal_error(fd: &mut VcpuFd) -> Step {
    if is_false_alarm(fd) {
        return Step::Repeat;
    }
    let (kind, data) = sys::internal_error(fd);
    let registers = fd.get_regs().map(|regs| format!("{regs:x?}"));
    let events = fd.get_vcpu_events().map(|events| format!("{events:x?}"));
    Step::End(format!(
        "KVM stopped the guest: internal error {kind}, {data:x?}, {}, {}",
        registers.unwrap_or_default(),
        events.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a vCPU that does these steps ends.
    fn ends(steps: impl IntoIterator<Item = Step>) -> bool {
        let mut repetitions = Repetitions::default();
        steps
            .into_iter()
            .any(|step| matches!(repetitions.bound(step), Step::End(_)))
    }

    fn repeats(count: u32) -> impl Iterator<Item = Step> {
        (0..count).map(|_| Step::Repeat)
    }

    #[test]
    fn an_access_is_repeated_16_times() {
        assert!(!ends(repeats(MAX_REPETITIONS)));
        assert!(ends(repeats(MAX_REPETITIONS + 1)));
    }

    #[test]
    fn only_progress_begins_the_count_again() {
        let with = |step| repeats(MAX_REPETITIONS).chain([step]).chain(repeats(1));
        assert!(!ends(with(Step::Run)));
        assert!(ends(with(Step::Interrupted)));
    }
}
