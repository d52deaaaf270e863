// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk (5.2 of the specification) in a file.
//!
//! The file does not cross the kexec; the disk that it is on does. At suspend it is written
//! through, and at resume it must have the same size.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Context, Result};
use virtio_queue::{DescriptorChain, Error, Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use super::{Device, DeviceState, Kind};

const FEATURE_FLUSH: u64 = 1 << 9;
const SECTOR: u64 = 512;
const QUEUE_SIZES: [u16; 1] = [128];
const CHUNK: usize = 64 << 10;
const HEADER_SIZE: usize = 16;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const ID_SIZE: usize = 20;

const STATUS_OK: u8 = 0;
const STATUS_IOERR: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;

/// The disk.
pub struct Block {
    file: File,
    sectors: u64,
}

impl Block {
    /// A disk of the size of `file`.
    pub fn new(file: File) -> Result<Self> {
        let bytes = file
            .metadata()
            .context("cannot read the disk's size")?
            .len();
        Ok(Self {
            file,
            sectors: bytes / SECTOR,
        })
    }

    /// The position of `length` bytes at `sector`, if the disk has them.
    fn position(&self, sector: u64, length: usize) -> Option<u64> {
        let end = (length as u64).div_ceil(SECTOR).checked_add(sector)?;
        (end <= self.sectors).then(|| sector * SECTOR)
    }

    /// Serves one request. Returns the number of bytes written to guest memory.
    fn serve(
        &self,
        chain: &DescriptorChain<&GuestMemoryMmap>,
        memory: &GuestMemoryMmap,
    ) -> Result<u32, Error> {
        let mut reader = chain.clone().reader(memory)?;
        let mut writer = chain.clone().writer(memory)?;
        let mut header = [0; HEADER_SIZE];
        let length = writer
            .available_bytes()
            .checked_sub(1)
            .ok_or(Error::InvalidChain)?;
        let mut status_byte = writer.split_at(length).map_err(|_| Error::InvalidChain)?;
        let status = if reader.read_exact(&mut header).is_err() {
            STATUS_IOERR
        } else {
            let [kind @ .., _, _, _, _, _, _, _, _, _, _, _, _] = header;
            let [_, _, _, _, _, _, _, _, sector @ ..] = header;
            let sector = u64::from_le_bytes(sector);
            let done = |result: std::io::Result<()>| match result {
                Ok(()) => STATUS_OK,
                Err(_) => STATUS_IOERR,
            };
            match u32::from_le_bytes(kind) {
                TYPE_IN => self.read(sector, length, &mut writer),
                TYPE_OUT => self.write(sector, reader.available_bytes(), &mut reader),
                TYPE_FLUSH => done(self.file.sync_data()),
                TYPE_GET_ID => done(writer.write_all(&vec![0; length.min(ID_SIZE)])),
                _ => STATUS_UNSUPPORTED,
            }
        };
        status_byte
            .write_all(&[status])
            .map_err(|_| Error::InvalidChain)?;
        Ok((writer.bytes_written() + 1) as u32)
    }

    fn read(&self, sector: u64, mut length: usize, to: &mut impl Write) -> u8 {
        let Some(mut position) = self.position(sector, length) else {
            return STATUS_IOERR;
        };
        let mut chunk = vec![0; CHUNK.min(length)];
        while length > 0 {
            chunk.truncate(length);
            let part = chunk.as_mut_slice();
            if self.file.read_exact_at(part, position).is_err() || to.write_all(part).is_err() {
                return STATUS_IOERR;
            }
            length -= part.len();
            position += part.len() as u64;
        }
        STATUS_OK
    }

    fn write(&self, sector: u64, mut length: usize, from: &mut impl Read) -> u8 {
        let Some(mut position) = self.position(sector, length) else {
            return STATUS_IOERR;
        };
        let mut chunk = vec![0; CHUNK.min(length)];
        while length > 0 {
            chunk.truncate(length);
            let part = chunk.as_mut_slice();
            if from.read_exact(part).is_err() || self.file.write_all_at(part, position).is_err() {
                return STATUS_IOERR;
            }
            length -= part.len();
            position += part.len() as u64;
        }
        STATUS_OK
    }
}

impl Device for Block {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn features(&self) -> u64 {
        FEATURE_FLUSH
    }

    fn config(&self) -> Vec<u8> {
        self.sectors.to_le_bytes().to_vec()
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn process(
        &mut self,
        _index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap,
    ) -> Result<bool, Error> {
        let mut used = false;
        for _ in 0..queue.size() {
            let Some(chain) = queue.pop_descriptor_chain(memory) else {
                break;
            };
            let written = self.serve(&chain, memory)?;
            queue.add_used(memory, chain.head_index(), written)?;
            used = true;
        }
        Ok(used)
    }

    fn save(&mut self) -> Result<DeviceState> {
        self.file
            .sync_data()
            .context("cannot write the disk through")?;
        Ok(DeviceState::Block {
            sectors: self.sectors,
        })
    }

    fn restore(&mut self, state: &DeviceState) -> Result<()> {
        let DeviceState::Block { sectors } = state else {
            bail!("it is no disk in the state");
        };
        ensure!(
            *sectors == self.sectors,
            "the guest's disk has {sectors} sectors, and this one {}",
            self.sectors
        );
        Ok(())
    }
}
