// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting a guest, and connecting it to what is around it.

use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::sync::Arc;

use anyhow::{ensure, Context, Result};

use crate::boot;
use crate::bus::{Bus, Interrupt, SERIAL_IRQ, VIRTIO, VIRTIO_IRQ, VIRTIO_SIZE};
use crate::guest::Guest;
use crate::machine::Bare;
use crate::memory::{Label, Ram};
use crate::options::{RunOptions, Surroundings};
use crate::serial::{Output, SerialPort};
use crate::serve::{Server, Socket};
use crate::state::State;
use crate::sys::Vm;
use crate::virtio::block::Block;
use crate::virtio::console::{Console, Line};
use crate::virtio::{Device, Transport};

/// What every guest needs: it has no ACPI and no PCI, and resets by the keyboard controller.
const COMMAND_LINE: &str = "console=ttyS0 acpi=off pci=off reboot=k panic=-1 no_timer_check";

/// Files and sockets that are open, before a guest needs them.
pub struct Connected {
    output: Output,
    disk: Option<File>,
    console: Option<(Socket, Line)>,
}

impl Connected {
    pub fn open(surroundings: &Surroundings) -> Result<Self> {
        let output: Output = match &surroundings.serial {
            Some(path) => Box::new(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot open {}", path.display()))?,
            ),
            None => Box::new(std::io::stdout()),
        };
        let disk = match &surroundings.disk {
            Some(path) => Some(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(path)
                    .with_context(|| format!("cannot open the disk {}", path.display()))?,
            ),
            None => None,
        };
        let console = match &surroundings.console {
            Some(path) => Some((Socket::listen(path)?, Line::default())),
            None => None,
        };
        Ok(Self {
            output,
            disk,
            console,
        })
    }

    /// Makes the devices: new ones, or those of `state`.
    pub fn devices(&mut self, vm: &Arc<Vm>, state: Option<&State>) -> Result<Bus> {
        let output = std::mem::replace(&mut self.output, Box::new(std::io::sink()));
        let interrupt = Interrupt::new(vm, SERIAL_IRQ);
        let serial = match state {
            Some(state) => SerialPort::restore(&state.serial, interrupt, output)?,
            None => SerialPort::new(interrupt, output),
        };
        let mut devices: Vec<Box<dyn Device>> = Vec::new();
        if let Some(disk) = self.disk.take() {
            devices.push(Box::new(Block::new(disk)?));
        }
        if let Some((_, line)) = &self.console {
            devices.push(Box::new(Console::new(line.clone())));
        }
        let saved = state.map(|state| state.virtio.as_slice());
        let mut transports = Vec::new();
        for (index, device) in devices.into_iter().enumerate() {
            let interrupt = Interrupt::new(vm, VIRTIO_IRQ + index as u32);
            let mut transport = Transport::new(device, interrupt, vm.memory().clone())?;
            if let Some(saved) = saved.and_then(|saved| saved.get(index)) {
                transport
                    .restore(saved)
                    .with_context(|| format!("cannot restore virtio device {index}"))?;
            }
            transports.push(transport);
        }
        if let Some(saved) = saved {
            ensure!(
                saved.len() == transports.len(),
                "the guest has {} virtio devices, but {} were given (--disk, --console)",
                saved.len(),
                transports.len()
            );
        }
        Bus::new(serial, transports)
    }

    /// Serves a guest that runs until it has ended.
    pub fn serve(self, control: Socket, guest: &mut Guest) -> Result<()> {
        let why = Server::new(control, self.console).run(guest)?;
        tracing::info!("guest {}: {why}", guest.name);
        Ok(())
    }
}

/// The words by which Linux finds `count` virtio devices.
fn announce(count: usize) -> String {
    (0..count).fold(String::new(), |mut words, index| {
        let address = VIRTIO + index as u64 * VIRTIO_SIZE;
        let irq = VIRTIO_IRQ as usize + index;
        let _ = write!(
            words,
            " virtio_mmio.device={VIRTIO_SIZE:#x}@{address:#x}:{irq}"
        );
        words
    })
}

/// Starts a guest and serves it.
pub fn run(options: RunOptions) -> Result<()> {
    let mut connected = Connected::open(&options.surroundings)?;
    let control = Socket::listen(&options.surroundings.control)?;
    let bare = Bare::new()?.with_vcpus(options.vcpus.into())?;
    let promise = bare.host.promise(bare.tsc_khz, options.cpu);
    let ram = Ram::create(&options.name, options.memory, options.pages)?;
    let mut guest = [0; 16];
    rustix::rand::getrandom(&mut guest, rustix::rand::GetRandomFlags::empty())
        .context("no random numbers")?;
    let label = Label::new(guest);
    ram.write_label(&label)?;

    let prepared = bare.promise(promise, ram)?;
    let bus = connected.devices(&prepared.vm, None)?;
    let command_line = format!(
        "{COMMAND_LINE}{} {}",
        announce(bus.virtio().count()),
        options.append
    );
    let entry = boot::load(
        prepared.ram.memory(),
        prepared.ram.bytes(),
        options.vcpus,
        &options.kernel,
        options.initrd.as_deref(),
        command_line.trim_end(),
    )?;
    prepared.set_entry(entry)?;
    let machine = prepared.machine(bus)?;
    machine.run();
    let mut guest = Guest::new(options.name, machine, options.clock, options.pages, label);
    guest.state_copy = options.surroundings.state_copy;
    if let Err(error) = guest.preserve_ram() {
        tracing::warn!("the memory is not preserved yet: {error:#}");
    }
    connected.serve(control, &mut guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_announced() {
        assert_eq!(announce(0), "");
        assert_eq!(
            announce(2),
            " virtio_mmio.device=0x1000@0xd0000000:5 virtio_mmio.device=0x1000@0xd0001000:6"
        );
    }
}
