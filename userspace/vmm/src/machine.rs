// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual machine in KVM, in three steps: [`Bare`], [`Prepared`] with a processor and memory,
//! and [`Machine`] with devices and a thread for each vCPU.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use kvm_bindings::{
    kvm_irqchip, kvm_pit_config, kvm_pit_state2, KVM_IRQCHIP_IOAPIC, KVM_PIT_SPEAKER_DUMMY,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

use crate::boot;
use crate::bus::Bus;
use crate::clock::{ClockState, Policy, Rate};
use crate::gate::{lock, Gate, Wanted};
use crate::host::{cpuid_of, Cpu, Host, Promise};
use crate::memory::{Pages, Ram, RAM_MIN};
use crate::run;
use crate::serial::SerialState;
use crate::state::{State, IRQCHIPS};
use crate::sys::{Vm, XsaveSize};
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
            ram_bytes: RAM_MIN,
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
    pub fn promise(self, promise: Promise, ram: Ram) -> Result<Prepared> {
        let count = self.vcpus.len() as u8;
        for (id, vcpu) in (0..).zip(&self.vcpus) {
            vcpu.set_cpuid2(&cpuid_of(&promise, id, count)?)
                .context("cannot set CPUID")?;
            vcpu.set_tsc_khz(promise.tsc_khz)
                .context("cannot set the TSC rate")?;
        }
        let vm =
            Vm::new(self.fd, ram.memory().clone()).context("cannot give KVM the guest's memory")?;
        Ok(Prepared {
            xsave_size: self.host.xsave_size,
            rate: self.host.rate(&promise, self.tsc_khz),
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
pub struct Prepared {
    xsave_size: XsaveSize,
    rate: Rate,
    msrs: Vec<u32>,
    pub vm: Arc<Vm>,
    vcpus: Vec<VcpuFd>,
    promise: Promise,
    pub ram: Ram,
}

impl Prepared {
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
        state
            .clock
            .restore(&self.vm, self.vcpus.iter().zip(offsets), policy, self.rate)?;
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
        register_signal_handler(SIGRTMIN(), run::kicked).context("cannot handle the signal")?;
        let mut machine = Machine {
            vcpus: Vec::new(),
            gate: Arc::new(Gate::new()?),
            bus: Arc::new(bus),
            msrs: self.msrs,
            promise: self.promise,
            rate: self.rate,
            vm: self.vm,
            ram: self.ram,
        };
        for (id, fd) in self.vcpus.into_iter().enumerate() {
            let fd = Arc::new(Mutex::new(fd));
            let thread = std::thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn({
                    let (fd, bus, gate) = (fd.clone(), machine.bus.clone(), machine.gate.clone());
                    move || run::run(&fd, &bus, &gate)
                })?;
            machine.vcpus.push(Vcpu {
                fd,
                thread: Some(thread),
            });
        }
        Ok(machine)
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
    rate: Rate,
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

    pub fn rate(&self) -> Rate {
        self.rate
    }

    pub fn vcpu_count(&self) -> usize {
        self.vcpus.len()
    }

    /// Becomes readable when the guest has ended.
    pub fn ended(&self) -> &OwnedFd {
        self.gate.ended()
    }

    /// Why the guest has ended, if it has.
    pub fn why_ended(&self) -> Option<String> {
        self.gate.why_ended()
    }

    /// Lets the vCPUs run, unless the guest has ended.
    pub fn run(&self) {
        self.gate.want(Wanted::Run);
    }

    /// Stops the vCPUs. When this returns, no exit is incomplete.
    pub fn stop(&self) {
        self.halt(Wanted::Stop);
    }

    fn halt(&self, wanted: Wanted) {
        self.gate.halt(wanted, || {
            for thread in self.vcpus.iter().filter_map(|vcpu| vcpu.thread.as_ref()) {
                // A thread that has ended cannot be signaled, and need not.
                let _ = thread.kill(SIGRTMIN());
            }
        });
    }

    /// Reads the state of the machine, which must be stopped.
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
            clock: ClockState::save(&self.vm, self.rate)?,
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
            state.clock.restore(&self.vm, vcpus, policy, self.rate)?;
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
        self.halt(Wanted::End);
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
