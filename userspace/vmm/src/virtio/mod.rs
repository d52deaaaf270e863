// SPDX-License-Identifier: Apache-2.0 OR MIT
//! virtio devices over MMIO ([the specification](https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html),
//! 4.2): the registers that all of them have. The kernel command line announces them.

pub mod block;
pub mod console;
#[cfg(test)]
pub mod tests;

use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueState, QueueT};
use vm_memory::GuestMemoryMmap;
use vm_superio::Trigger;

use crate::bus::Interrupt;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VENDOR: u32 = 0;

const FEATURE_VERSION_1: u64 = 1 << 32;
const STATUS_FEATURES_OK: u32 = 8;
const STATUS_DRIVER_OK: u32 = 4;
const STATUS_NEEDS_RESET: u32 = 0x40;
const INTERRUPT_QUEUE: u32 = 1;
const INTERRUPT_CONFIG: u32 = 2;

const CONFIG: u64 = 0x100;
/// A device has at most this many queues.
const MAX_QUEUES: usize = 2;

/// The type of a device (5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Block = 2,
    Console = 3,
}

/// What a device does.
pub trait Device: Send {
    fn kind(&self) -> Kind;

    /// The features that it offers, without those of the transport.
    fn features(&self) -> u64;

    /// Its configuration space.
    fn config(&self) -> Vec<u8>;

    /// The size of each of its queues.
    fn queue_sizes(&self) -> &'static [u16];

    /// Does what the driver asks for in queue `index`, and returns whether any buffer was used.
    ///
    /// Takes at most as many requests as the queue has entries. More are there only if the
    /// driver has added them meanwhile, and it will notify the device of those. A guest that
    /// adds requests all the time can thus not keep its vCPU from being stopped.
    fn process(
        &mut self,
        index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap,
    ) -> Result<bool, virtio_queue::Error>;

    /// Completes what the guest was told to be done, and reads the state.
    fn save(&mut self) -> Result<DeviceState>;

    /// Takes over the state of a device of the same kind. Fails if that is another kind, or
    /// if the device differs.
    fn restore(&mut self, state: &DeviceState) -> Result<()>;
}

/// What a device knows that neither its registers nor guest RAM have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    Block {
        sectors: u64,
    },
    /// Input that the guest has not read.
    Console {
        input: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Ring {
    next_avail: u16,
    next_used: u16,
    size: u16,
    ready: bool,
    descriptors: u64,
    avail: u64,
    used: u64,
}

impl Ring {
    fn save(queue: &Queue) -> Self {
        let state = queue.state();
        Self {
            next_avail: state.next_avail,
            next_used: state.next_used,
            size: state.size,
            ready: state.ready,
            descriptors: state.desc_table,
            avail: state.avail_ring,
            used: state.used_ring,
        }
    }

    fn restore(&self, max_size: u16) -> Result<Queue> {
        Queue::try_from(QueueState {
            max_size,
            next_avail: self.next_avail,
            next_used: self.next_used,
            event_idx_enabled: false,
            size: self.size,
            ready: self.ready,
            desc_table: self.descriptors,
            avail_ring: self.avail,
            used_ring: self.used,
        })
        .context("a queue of a virtio device is invalid")
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Registers {
    status: u32,
    interrupt: u32,
    features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
}

/// The state of a device and its registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VirtioState {
    registers: Registers,
    rings: Vec<Ring>,
    pub device: DeviceState,
}

impl VirtioState {
    /// Whether the numbers are those that a device can have.
    pub fn is_valid(&self) -> bool {
        let input = match &self.device {
            DeviceState::Console { input } => input.len(),
            DeviceState::Block { .. } => 0,
        };
        self.rings.len() <= MAX_QUEUES && input <= console::MAX_INPUT
    }
}

/// A device behind its registers.
pub struct Transport {
    device: Box<dyn Device>,
    queues: Vec<Queue>,
    registers: Registers,
    interrupt: Interrupt,
    memory: GuestMemoryMmap,
}

impl Transport {
    /// A device of a guest that starts.
    pub fn new(
        device: Box<dyn Device>,
        interrupt: Interrupt,
        memory: GuestMemoryMmap,
    ) -> Result<Self> {
        let queues = device
            .queue_sizes()
            .iter()
            .map(|size| Queue::new(*size))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            device,
            queues,
            registers: Registers::default(),
            interrupt,
            memory,
        })
    }

    /// Gives a device that is new the state of that of the previous kernel.
    pub fn restore(&mut self, state: &VirtioState) -> Result<()> {
        let sizes = self.device.queue_sizes();
        ensure!(
            state.rings.len() == sizes.len(),
            "a virtio device has {} queues in the state, not {}",
            state.rings.len(),
            sizes.len()
        );
        let lacking = state.registers.driver_features & !self.features();
        ensure!(
            lacking == 0 || state.registers.status & STATUS_FEATURES_OK == 0,
            "the driver uses features {lacking:#x} of a virtio device, which this one lacks"
        );
        self.device.restore(&state.device)?;
        self.registers = state.registers;
        self.queues = state
            .rings
            .iter()
            .zip(sizes)
            .map(|(ring, size)| ring.restore(*size))
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// Reads the state.
    pub fn save(&mut self) -> Result<VirtioState> {
        Ok(VirtioState {
            registers: self.registers,
            rings: self.queues.iter().map(Ring::save).collect(),
            device: self.device.save()?,
        })
    }

    pub fn kind(&self) -> Kind {
        self.device.kind()
    }

    fn features(&self) -> u64 {
        self.device.features() | FEATURE_VERSION_1
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(self.registers.queue_select as usize)
    }

    /// The driver reads. All registers but those of the configuration have 32 bits.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset.checked_sub(CONFIG) {
            let config = self.device.config();
            for (byte, value) in data.iter_mut().zip(config.iter().skip(offset as usize)) {
                *byte = *value;
            }
            return;
        }
        let Ok(data) = <&mut [u8; 4]>::try_from(data) else {
            return;
        };
        let select = u64::from(self.registers.features_select);
        let value = match offset {
            0x00 => MAGIC,
            0x04 => VERSION,
            0x08 => self.device.kind() as u32,
            0x0c => VENDOR,
            0x10 if select < 2 => (self.features() >> (32 * select)) as u32,
            0x34 => self.queue().map_or(0, |queue| u32::from(queue.max_size())),
            0x44 => self.queue().map_or(0, |queue| u32::from(queue.ready())),
            0x60 => self.registers.interrupt,
            0x70 => self.registers.status,
            _ => 0,
        };
        *data = value.to_le_bytes();
    }

    /// The driver writes.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(data) = <[u8; 4]>::try_from(data) else {
            return;
        };
        let value = u32::from_le_bytes(data);
        match offset {
            0x14 => self.registers.features_select = value,
            0x20 => self.accept_features(value),
            0x24 => self.registers.driver_features_select = value,
            0x30 => self.registers.queue_select = value,
            0x50 => self.notify(value as usize),
            0x64 => self.registers.interrupt &= !value,
            0x70 => self.set_status(value),
            _ => self.set_up_queue(offset, value),
        }
    }

    /// A driver may set up queues until it says that it is ready.
    fn set_up_queue(&mut self, offset: u64, value: u32) {
        if self.registers.status & STATUS_DRIVER_OK != 0 {
            return;
        }
        let Some(queue) = self.queue() else {
            return;
        };
        match offset {
            0x38 => queue.set_size(value as u16),
            0x44 => queue.set_ready(value == 1),
            0x80 => queue.set_desc_table_address(Some(value), None),
            0x84 => queue.set_desc_table_address(None, Some(value)),
            0x90 => queue.set_avail_ring_address(Some(value), None),
            0x94 => queue.set_avail_ring_address(None, Some(value)),
            0xa0 => queue.set_used_ring_address(Some(value), None),
            0xa4 => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn accept_features(&mut self, value: u32) {
        if self.registers.status & STATUS_FEATURES_OK != 0 {
            return;
        }
        let accepted = &mut self.registers.driver_features;
        match self.registers.driver_features_select {
            0 => *accepted = *accepted & !0xffff_ffff | u64::from(value),
            1 => *accepted = *accepted & 0xffff_ffff | u64::from(value) << 32,
            _ => {}
        }
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            self.registers = Registers::default();
            self.queues.iter_mut().for_each(Queue::reset);
            return;
        }
        let mut value = value | self.registers.status;
        if self.registers.driver_features & !self.features() != 0 {
            value &= !STATUS_FEATURES_OK;
        }
        self.registers.status = value;
    }

    /// Lets the device look at a queue. The guest may have made its queue invalid; the device
    /// then stops until the driver resets it.
    pub fn notify(&mut self, index: usize) {
        let Some(queue) = self.queues.get_mut(index) else {
            return;
        };
        let status = self.registers.status;
        if !queue.ready() || status & STATUS_DRIVER_OK == 0 || status & STATUS_NEEDS_RESET != 0 {
            return;
        }
        match self.device.process(index, queue, &self.memory) {
            Ok(true) => match queue.needs_notification(&self.memory) {
                Ok(false) => return,
                _ => self.registers.interrupt |= INTERRUPT_QUEUE,
            },
            Ok(false) => return,
            Err(error) => {
                tracing::warn!("{:?} device: {error}", self.device.kind());
                self.registers.status |= STATUS_NEEDS_RESET;
                self.registers.interrupt |= INTERRUPT_CONFIG;
            }
        }
        if let Err(error) = self.interrupt.trigger() {
            tracing::warn!("{:?} device: no interrupt: {error}", self.device.kind());
        }
    }
}
