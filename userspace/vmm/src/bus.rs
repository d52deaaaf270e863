// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices of a guest, and which of them an access goes to.
//!
//! A device does its work inside the access, in the thread of the vCPU. When all vCPUs are
//! stopped, no device has work under way, and its state is complete.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{ensure, Result};
use vm_superio::Trigger;

use crate::gate::lock;
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
pub struct Interrupt(Arc<dyn Fn() -> Result<(), kvm_ioctls::Error> + Send + Sync>);

impl Interrupt {
    /// The line `line` of a virtual machine. Raises and lowers it, because it is edge-triggered.
    pub fn new(vm: &Arc<Vm>, line: u32) -> Self {
        let vm = vm.clone();
        Self(Arc::new(move || {
            vm.fd().set_irq_line(line, true)?;
            vm.fd().set_irq_line(line, false)
        }))
    }

    /// A line that counts.
    #[cfg(test)]
    pub fn counter(count: &Arc<std::sync::atomic::AtomicUsize>) -> Self {
        let count = count.clone();
        Self(Arc::new(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        }))
    }
}

impl Trigger for Interrupt {
    type E = kvm_ioctls::Error;

    fn trigger(&self) -> Result<(), Self::E> {
        (self.0)()
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::serial::SerialState;

    fn bus(count: &Arc<AtomicUsize>) -> Bus {
        let interrupt = Interrupt::counter(count);
        let serial = SerialPort::new(interrupt, Box::new(std::io::sink()));
        Bus::new(serial, Vec::new()).unwrap()
    }

    #[test]
    fn an_access_to_nothing() {
        let bus = bus(&Arc::default());
        let mut data = [0; 8];
        for address in [0, VIRTIO - 1, VIRTIO, VIRTIO + VIRTIO_SIZE, u64::MAX] {
            data.fill(0);
            bus.memory_read(address, &mut data);
            assert_eq!(data, [0xff; 8]);
            bus.memory_write(address, &data);
        }
        for port in [0, SERIAL - 1, SERIAL_END, KEYBOARD, u16::MAX] {
            assert_eq!(bus.port_write(port, &data), Next::Run);
            bus.port_read(port, &mut data);
        }
        assert_eq!(bus.port_write(KEYBOARD, &[KEYBOARD_RESET]), Next::Reset);
    }

    #[test]
    fn the_serial_port_goes_on_as_it_was() {
        let count = Arc::default();
        let before = bus(&count);
        // Other values in all registers; the port returns what is sent, and has received it.
        for (offset, value) in [
            (3, 0x83),
            (0, 12),
            (1, 34),
            (3, 0x13),
            (4, 0x1b),
            (1, 5),
            (7, 56),
        ] {
            before.port_write(SERIAL + offset, &[value]);
        }
        before.port_write(SERIAL, b"ab");
        assert!(count.load(Ordering::SeqCst) > 0);
        let state = before.serial().save();
        assert_ne!(state, SerialState::default());
        let interrupt = Interrupt::counter(&count);
        let after = SerialPort::restore(&state, interrupt, Box::new(std::io::sink())).unwrap();
        let after = Bus::new(after, Vec::new()).unwrap();
        assert_eq!(after.serial().save(), state);
        for offset in [1, 3, 4, 5, 6, 7, 0, 0, 5] {
            let mut values = [[0], [0]];
            before.port_read(SERIAL + offset, &mut values[0]);
            after.port_read(SERIAL + offset, &mut values[1]);
            assert_eq!(values[0], values[1], "register {offset}");
        }
    }
}
