// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual machine in KVM: its vCPUs, each with a thread, and how they stop and go on.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use kvm_bindings::{
    kvm_irqchip, kvm_pit_config, kvm_pit_state2, kvm_vcpu_events, KVM_INTERNAL_ERROR_DELIVERY_EV,
    KVM_IRQCHIP_IOAPIC, KVM_PIT_SPEAKER_DUMMY,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use rustix::event::{eventfd, EventfdFlags};
use rustix::io::Errno;
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

use crate::boot;
use crate::bus::{Bus, Next};
use crate::clock::{ClockState, Policy};
use crate::host::{cpuid_of, Cpu, Host, Promise};
use crate::memory::{Pages, Ram};
use crate::serial::SerialState;
use crate::state::{State, IRQCHIPS};
use crate::sys::{self, Vm};
use crate::vcpu::{msr_indices, VcpuState};

/// Three pages that Intel's processors need, below the IOAPIC and above all devices.
const TSS: usize = 0xfffb_d000;

/// A virtual machine without memory and devices.
pub struct Bare {
    pub host: Host,
    /// The rate in kHz of a vCPU whose rate was not set.
    pub tsc_khz: u32,
    msrs: Vec<u32>,
    fd: VmFd,
    vcpus: Vec<VcpuFd>,
}

impl Bare {
    /// Makes a virtual machine with one vCPU.
    pub fn new() -> Result<Self> {
        let kvm = Kvm::new().context("cannot open /dev/kvm")?;
        let host = Host::new(&kvm)?;
        let fd = kvm.create_vm().context("cannot create a virtual machine")?;
        fd.set_tss_address(TSS)?;
        fd.create_irq_chip()
            .context("cannot create the interrupt controllers")?;
        fd.create_pit2(kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        })
        .context("cannot create the timer")?;
        let first = fd.create_vcpu(0).context("cannot create a vCPU")?;
        Ok(Self {
            host,
            tsc_khz: first.get_tsc_khz().context("cannot read the TSC rate")?,
            msrs: msr_indices(&kvm)?,
            fd,
            vcpus: vec![first],
        })
    }

    /// Saves the machine, which is new, and gives it its own state. Nothing changes, but what
    /// a resume runs, in this program and in KVM, is then in memory and in the caches of the
    /// processor or the emulator. While the program waits for its sessions, this costs no
    /// time of the guest's pause.
    pub fn rehearse(&self) -> Result<()> {
        let first = self.vcpus.first().context("no vCPU")?;
        let promise = self.host.promise(self.tsc_khz, Cpu::Host);
        first.set_cpuid2(&cpuid_of(&promise, 0, 1)?)?;
        first.set_tsc_khz(promise.tsc_khz)?;
        let state = State {
            guest: [0; 16],
            suspends: 0,
            kernel: String::new(),
            ram_bytes: 0,
            pages: Pages::Small,
            policy: Policy::Jump,
            promise,
            clock: ClockState::default(),
            vcpus: vec![VcpuState::save(first, &self.msrs)?],
            irqchips: save_irqchips(&self.fd)?,
            pit: self.fd.get_pit2()?,
            serial: SerialState::default(),
            virtio: Vec::new(),
        };
        let state = State::load(state.save()?)?;
        for saved in &state.vcpus {
            saved.restore(first, self.host.xsave_size)?;
        }
        restore_chips(&self.fd, &state)
    }

    /// Adds vCPUs until there are `count`.
    pub fn with_vcpus(mut self, count: usize) -> Result<Self> {
        for id in self.vcpus.len()..count {
            let vcpu = self.fd.create_vcpu(id as u64);
            self.vcpus.push(vcpu.context("cannot create a vCPU")?);
        }
        Ok(self)
    }

    /// Gives the vCPUs the processor of `promise`, and the machine its memory.
    pub fn promise(self, promise: Promise, ram: Ram) -> Result<Still> {
        let count = self.vcpus.len() as u8;
        for (id, vcpu) in (0..).zip(&self.vcpus) {
            vcpu.set_cpuid2(&cpuid_of(&promise, id, count)?)
                .context("cannot set CPUID")?;
            vcpu.set_tsc_khz(promise.tsc_khz)
                .context("cannot set the TSC rate")?;
        }
        let vm =
            Vm::new(self.fd, ram.memory().clone()).context("cannot give KVM the guest's memory")?;
        Ok(Still {
            xsave_size: self.host.xsave_size,
            msrs: self.msrs,
            vm: Arc::new(vm),
            vcpus: self.vcpus,
            promise,
            ram,
        })
    }
}

fn save_irqchips(fd: &VmFd) -> Result<Vec<kvm_irqchip>> {
    let mut irqchips = Vec::with_capacity(IRQCHIPS);
    for chip_id in 0..=KVM_IRQCHIP_IOAPIC {
        let mut chip = kvm_irqchip {
            chip_id,
            ..Default::default()
        };
        fd.get_irqchip(&mut chip)
            .context("cannot save an interrupt controller")?;
        irqchips.push(chip);
    }
    Ok(irqchips)
}

fn restore_chips(fd: &VmFd, state: &State) -> Result<()> {
    for chip in &state.irqchips {
        fd.set_irqchip(chip)
            .context("cannot set an interrupt controller")?;
    }
    fd.set_pit2(&state.pit).context("cannot set the timer")
}

/// A virtual machine that does not run yet.
pub struct Still {
    xsave_size: u32,
    msrs: Vec<u32>,
    pub vm: Arc<Vm>,
    vcpus: Vec<VcpuFd>,
    promise: Promise,
    pub ram: Ram,
}

impl Still {
    /// Sets the registers with which the first vCPU enters a kernel at `entry`.
    pub fn set_entry(&self, entry: u64) -> Result<()> {
        let first = self.vcpus.first().context("no vCPU")?;
        boot::set_registers(first, entry)
    }

    /// Gives vCPUs and KVM's devices the state of the previous kernel. Devices that are not
    /// in KVM must exist, because making them may raise an interrupt that belongs to no state.
    pub fn restore(&self, state: &State, policy: Policy) -> Result<()> {
        for (vcpu, saved) in self.vcpus.iter().zip(&state.vcpus) {
            saved.restore(vcpu, self.xsave_size)?;
        }
        // The IOAPIC may pass a pending interrupt on to a LAPIC.
        restore_chips(self.vm.fd(), state)?;
        let offsets = state.vcpus.iter().map(|saved| saved.tsc_offset);
        state.clock.restore(
            &self.vm,
            self.vcpus.iter().zip(offsets),
            policy,
            self.promise.tsc_khz,
        )?;
        for (vcpu, saved) in self.vcpus.iter().zip(&state.vcpus) {
            saved.restore_timer(vcpu)?;
            // The guest's watchdogs then ignore the gap. It fails if the guest does not use
            // kvm-clock.
            let _ = vcpu.kvmclock_ctrl();
        }
        Ok(())
    }

    /// Starts a thread for each vCPU. None runs until [`Machine::run`] is called.
    pub fn machine(self, bus: Bus) -> Result<Machine> {
        register_signal_handler(SIGRTMIN(), kicked).context("cannot handle the signal")?;
        let gate = Arc::new(Gate::new()?);
        let bus = Arc::new(bus);
        let mut vcpus = Vec::new();
        for (id, fd) in self.vcpus.into_iter().enumerate() {
            let fd = Arc::new(Mutex::new(fd));
            let thread = std::thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn({
                    let (fd, bus, gate) = (fd.clone(), bus.clone(), gate.clone());
                    move || vcpu_thread(&fd, &bus, &gate)
                })?;
            vcpus.push(Vcpu {
                fd,
                thread: Some(thread),
            });
        }
        Ok(Machine {
            vcpus,
            gate,
            bus,
            msrs: self.msrs,
            promise: self.promise,
            vm: self.vm,
            ram: self.ram,
        })
    }
}

/// The signal only interrupts `KVM_RUN`.
extern "C" fn kicked(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

const STOP: u8 = 0;
const RUN: u8 = 1;
const END: u8 = 2;

/// Where vCPU threads wait while the machine is stopped.
struct Gate {
    wanted: AtomicU8,
    running: Mutex<usize>,
    changed: Condvar,
    ended: OwnedFd,
    why: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    fn new() -> Result<Self> {
        Ok(Self {
            wanted: AtomicU8::new(STOP),
            running: Mutex::new(0),
            changed: Condvar::new(),
            ended: eventfd(0, EventfdFlags::CLOEXEC)?,
            why: Mutex::new(None),
        })
    }

    fn wanted(&self) -> u8 {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Changes what the threads shall do, under the lock that they wait with.
    fn want(&self, what: u8) {
        let _running = lock(&self.running);
        self.wanted.store(what, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// A thread waits until it may run. Returns false when it shall end.
    fn enter(&self) -> bool {
        let mut running = lock(&self.running);
        while self.wanted() == STOP {
            running = self
                .changed
                .wait(running)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *running += usize::from(self.wanted() == RUN);
        self.wanted() == RUN
    }

    fn leave(&self) {
        *lock(&self.running) -= 1;
        self.changed.notify_all();
    }

    /// The guest cannot go on.
    fn end(&self, why: String) {
        lock(&self.why).get_or_insert(why);
        if let Err(error) = rustix::io::write(&self.ended, &1_u64.to_ne_bytes()) {
            tracing::error!("cannot report that the guest has ended: {error}");
        }
        self.want(STOP);
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

fn vcpu_thread(fd: &Mutex<VcpuFd>, bus: &Bus, gate: &Gate) {
    let mut repetitions = Repetitions::default();
    while gate.enter() {
        let mut fd = lock(fd);
        fd.set_kvm_immediate_exit(0);
        loop {
            let next = repetitions.bound(step(&mut fd, bus));
            if let Step::End(why) = next {
                gate.end(why);
                break;
            }
            if gate.wanted() != RUN {
                // KVM completes an exit when the vCPU is entered the next time. With
                // immediate_exit it does that, runs no guest code, and answers EINTR.
                fd.set_kvm_immediate_exit(1);
                if matches!(next, Step::Interrupted) {
                    break;
                }
            }
        }
        drop(fd);
        gate.leave();
    }
}

struct Vcpu {
    fd: Arc<Mutex<VcpuFd>>,
    thread: Option<JoinHandle<()>>,
}

/// A virtual machine that can run.
pub struct Machine {
    vcpus: Vec<Vcpu>,
    gate: Arc<Gate>,
    bus: Arc<Bus>,
    msrs: Vec<u32>,
    promise: Promise,
    vm: Arc<Vm>,
    ram: Ram,
}

impl Machine {
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    pub fn tsc_khz(&self) -> u32 {
        self.promise.tsc_khz
    }

    pub fn vcpu_count(&self) -> usize {
        self.vcpus.len()
    }

    /// Becomes readable when the guest has ended.
    pub fn ended(&self) -> &OwnedFd {
        &self.gate.ended
    }

    /// Why the guest has ended, if it has.
    pub fn why_ended(&self) -> Option<String> {
        lock(&self.gate.why).clone()
    }

    /// Lets the vCPUs run.
    pub fn run(&self) {
        self.gate.want(RUN);
    }

    /// Stops the vCPUs. When this returns, no exit is incomplete.
    pub fn stop(&self) {
        self.halt(STOP);
    }

    fn halt(&self, what: u8) {
        self.gate.want(what);
        loop {
            for vcpu in &self.vcpus {
                if let Some(thread) = &vcpu.thread {
                    // A thread that has ended cannot be signaled, and need not.
                    let _ = thread.kill(SIGRTMIN());
                }
            }
            // The signal may arrive just before KVM_RUN, where it interrupts nothing. So it
            // is sent again until all threads have left.
            let running = lock(&self.gate.running);
            let (running, _) = self
                .gate
                .changed
                .wait_timeout_while(running, Duration::from_millis(2), |running| *running > 0)
                .unwrap_or_else(PoisonError::into_inner);
            if *running == 0 {
                return;
            }
        }
    }

    /// Reads the state of the machine, which must be stopped. `label` is what its memory says.
    pub fn save(&self, head: Head) -> Result<State> {
        let vcpus = self
            .vcpus
            .iter()
            .map(|vcpu| VcpuState::save(&lock(&vcpu.fd), &self.msrs))
            .collect::<Result<_>>()
            .context("cannot save a vCPU")?;
        let irqchips = save_irqchips(self.vm.fd())?;
        let pit: kvm_pit_state2 = self.vm.fd().get_pit2().context("cannot save the timer")?;
        Ok(State {
            guest: head.guest,
            suspends: head.suspends,
            kernel: head.kernel,
            ram_bytes: self.ram.bytes(),
            pages: head.pages,
            policy: head.policy,
            promise: self.promise.clone(),
            clock: ClockState::save(&self.vm)?,
            vcpus,
            irqchips,
            pit,
            serial: self.bus.serial().save(),
            virtio: self
                .bus
                .virtio()
                .map(|mut device| device.save())
                .collect::<Result<_>>()?,
        })
    }

    /// Sets the clocks of a machine that was stopped, not moved.
    pub fn reset_clocks(&self, state: &State, policy: Policy) -> Result<()> {
        let fds: Vec<_> = self.vcpus.iter().map(|vcpu| lock(&vcpu.fd)).collect();
        let offsets = state.vcpus.iter().map(|saved| saved.tsc_offset);
        let vcpus = fds.iter().map(|fd| &**fd).zip(offsets);
        if policy == Policy::Stop {
            // For "jump", the clocks are right: they went on by themselves.
            state
                .clock
                .restore(&self.vm, vcpus, policy, self.promise.tsc_khz)?;
            for (fd, saved) in fds.iter().zip(&state.vcpus) {
                saved.restore_timer(fd)?;
            }
        }
        for fd in &fds {
            let _ = fd.kvmclock_ctrl();
        }
        Ok(())
    }
}

impl Drop for Machine {
    /// Ends the threads, which use the guest's memory.
    fn drop(&mut self) {
        self.halt(END);
        for vcpu in &mut self.vcpus {
            if let Some(thread) = vcpu.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// What a state says of a guest that the machine does not know.
pub struct Head {
    pub guest: [u8; 16],
    pub suspends: u64,
    pub kernel: String,
    pub pages: Pages,
    pub policy: Policy,
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
    fn an_access_is_repeated_so_often() {
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
