// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A console (5.3 of the specification) that a program on the host talks to over a socket.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use anyhow::{bail, Result};
use virtio_queue::{Error, Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use super::{Device, DeviceState, Kind};
use crate::gate::lock;

pub const RECEIVE: usize = 0;
const QUEUE_SIZES: [u16; 2] = [64, 64];
/// Input that waits for the guest, in bytes. More stays in the socket.
pub const MAX_INPUT: usize = 4096;

/// The host's end of the console.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    client: Option<UnixStream>,
    input: VecDeque<u8>,
}

impl Line {
    fn with<R>(&self, act: impl FnOnce(&mut Shared) -> R) -> R {
        act(&mut lock(&self.0))
    }

    /// Connects the console to a program, which replaces an earlier one.
    pub fn connect(&self, client: UnixStream) {
        self.with(|shared| shared.client = Some(client));
    }

    /// How many bytes of input can still be taken.
    pub fn free(&self) -> usize {
        self.with(|shared| MAX_INPUT.saturating_sub(shared.input.len()))
    }

    /// Takes input from the program. Returns false if it is gone.
    pub fn receive(&self) -> bool {
        self.with(|shared| {
            let mut bytes = [0; 512];
            let free = MAX_INPUT
                .saturating_sub(shared.input.len())
                .min(bytes.len());
            let Some(client) = &mut shared.client else {
                return false;
            };
            match client.take(free as u64).read(&mut bytes) {
                Ok(0) if free > 0 => shared.client = None,
                Ok(count) => shared.input.extend(bytes.iter().take(count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => shared.client = None,
            }
            shared.client.is_some()
        })
    }
}

/// The device.
pub struct Console {
    line: Line,
}

impl Console {
    pub fn new(line: Line) -> Self {
        Self { line }
    }
}

impl Device for Console {
    fn kind(&self) -> Kind {
        Kind::Console
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        vec![0; 12]
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn process(
        &mut self,
        index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap,
    ) -> Result<bool, Error> {
        let mut used = false;
        self.line.with(|shared| {
            for _ in 0..queue.size() {
                if index == RECEIVE && shared.input.is_empty() {
                    break;
                }
                let Some(chain) = queue.pop_descriptor_chain(memory) else {
                    break;
                };
                let mut written = 0;
                if index == RECEIVE {
                    let mut writer = chain.clone().writer(memory)?;
                    let (input, _) = shared.input.as_slices();
                    written = writer.write(input).map_err(|_| Error::InvalidChain)?;
                    shared.input.drain(..written);
                } else if let Some(client) = &mut shared.client {
                    // A program that does not read loses output; it must not stop the guest.
                    let mut reader = chain.clone().reader(memory)?;
                    let mut bytes = vec![0; reader.available_bytes().min(MAX_INPUT)];
                    reader
                        .read_exact(&mut bytes)
                        .map_err(|_| Error::InvalidChain)?;
                    let _ = client.write(&bytes);
                }
                queue.add_used(memory, chain.head_index(), written as u32)?;
                used = true;
            }
            Ok(used)
        })
    }

    fn save(&mut self) -> Result<DeviceState> {
        let input = self
            .line
            .with(|shared| shared.input.iter().copied().collect());
        Ok(DeviceState::Console { input })
    }

    fn restore(&mut self, state: &DeviceState) -> Result<()> {
        let DeviceState::Console { input } = state else {
            bail!("it is no console in the state");
        };
        self.line.with(|shared| shared.input.extend(input));
        Ok(())
    }
}
