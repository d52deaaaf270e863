// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices of a guest, and which of them an access goes to.
//!
//! A device does its work inside the access, in the thread of the vCPU. When all vCPUs are
//! stopped, no device has work under way, and its state is complete.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{ensure, Result};
use vm_superio::Trigger;

use crate::serial::SerialPort;
use crate::sys::Vm;
use crate::virtio::Transport;

const SERIAL: u16 = 0x3f8;
const SERIAL_END: u16 = SERIAL + 8;
/// The line of the serial port.
pub const SERIAL_IRQ: u32 = 4;

/// The keyboard controller's port, which Linux resets a machine with.
const KEYBOARD: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xfe;

/// The registers of the first virtio device. The next ones follow.
pub const VIRTIO: u64 = 0xd000_0000;
pub const VIRTIO_SIZE: u64 = 0x1000;
/// The line of the first virtio device. The next ones follow.
pub const VIRTIO_IRQ: u32 = 5;

/// An interrupt line of the IOAPIC.
///
/// KVM is told by an ioctl that has taken effect when it returns. An irqfd would defer the
/// interrupt to a worker, and one that is under way would be missing in the saved state.
#[derive(Clone)]
pub struct Interrupt {
    vm: Arc<Vm>,
    line: u32,
}

impl Interrupt {
    pub fn new(vm: &Arc<Vm>, line: u32) -> Self {
        Self {
            vm: vm.clone(),
            line,
        }
    }
}

impl Trigger for Interrupt {
    type E = kvm_ioctls::Error;

    /// Raises and lowers the line, which is edge-triggered.
    fn trigger(&self) -> Result<(), Self::E> {
        self.vm.fd().set_irq_line(self.line, true)?;
        self.vm.fd().set_irq_line(self.line, false)
    }
}

/// All devices that are not in KVM.
pub struct Bus {
    serial: Mutex<SerialPort>,
    virtio: Vec<Mutex<Transport>>,
}

/// Whether the guest goes on after an access.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Run,
    Reset,
}

/// A thread that panicked in a device ends the program, so nobody sees a lock it poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus {
    pub fn new(serial: SerialPort, virtio: Vec<Transport>) -> Result<Self> {
        ensure!(
            virtio.len() <= (16 - VIRTIO_IRQ) as usize,
            "there are not enough interrupt lines for {} virtio devices",
            virtio.len()
        );
        Ok(Self {
            serial: Mutex::new(serial),
            virtio: virtio.into_iter().map(Mutex::new).collect(),
        })
    }

    pub fn serial(&self) -> MutexGuard<'_, SerialPort> {
        lock(&self.serial)
    }

    /// The virtio devices, in the order of their addresses.
    pub fn virtio(&self) -> impl Iterator<Item = MutexGuard<'_, Transport>> {
        self.virtio.iter().map(lock)
    }

    pub fn port_write(&self, port: u16, data: &[u8]) -> Next {
        match port {
            SERIAL..SERIAL_END => {
                let mut serial = self.serial();
                for byte in data {
                    serial.write((port - SERIAL) as u8, *byte);
                }
            }
            KEYBOARD if data == [KEYBOARD_RESET] => return Next::Reset,
            _ => {}
        }
        Next::Run
    }

    pub fn port_read(&self, port: u16, data: &mut [u8]) {
        match port {
            SERIAL..SERIAL_END => {
                let mut serial = self.serial();
                for byte in data {
                    *byte = serial.read((port - SERIAL) as u8);
                }
            }
            // The keyboard controller is ready for a command.
            KEYBOARD => data.fill(0),
            _ => data.fill(0xff),
        }
    }

    fn virtio_at(&self, address: u64) -> Option<(MutexGuard<'_, Transport>, u64)> {
        let distance = address.checked_sub(VIRTIO)?;
        let device = self.virtio.get((distance / VIRTIO_SIZE) as usize)?;
        Some((lock(device), distance % VIRTIO_SIZE))
    }

    pub fn memory_read(&self, address: u64, data: &mut [u8]) {
        match self.virtio_at(address) {
            Some((mut device, offset)) => device.read(offset, data),
            None => data.fill(0xff),
        }
    }

    pub fn memory_write(&self, address: u64, data: &[u8]) {
        if let Some((mut device, offset)) = self.virtio_at(address) {
            device.write(offset, data);
        }
    }
}
