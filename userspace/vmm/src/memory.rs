// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guest RAM: a memfd that this program maps, that KVM runs the guest in, and that is
//! preserved for the next kernel while the guest runs.
//!
//! ```text
//! 0                                  ram bytes        + one page
//! +----------------------------------+----------------+
//! | guest physical memory from 0     | label          |
//! +----------------------------------+----------------+
//! ```
//!
//! The label says which guest the memory belongs to and how often it was suspended. The
//! state of another guest, or of an earlier suspend, does not fit this memory, and running
//! with it would corrupt the guest.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

use crate::sys;

const MIB: u64 = 1 << 20;
const LABEL_ROOM: u64 = 4096;
const LABEL_SIZE: usize = 48;
const LABEL_MAGIC: [u8; 8] = *b"LUVMRAM\0";

/// The guest's devices begin at this address, so RAM must end before it.
pub const RAM_LIMIT: u64 = 3 << 30;

/// Which pages the memory consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Pages {
    /// Pages of 4 KiB.
    Small,
    /// Transparent huge pages, if `/sys/kernel/mm/transparent_hugepage/shmem_enabled` allows
    /// them ("advise" does).
    Thp,
    /// Huge pages of 2 MiB from the reserved pool.
    Hugetlb,
}

/// What the memory says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// A random number that the guest got when it was started.
    pub guest: [u8; 16],
    /// Number of suspends since then.
    pub suspends: u64,
    /// The host's TSC when the vCPUs had stopped, and when all was preserved.
    pub stopped_at: u64,
    pub preserved_at: u64,
}

impl Label {
    /// The label of a guest that starts.
    pub fn new(guest: [u8; 16]) -> Self {
        Self {
            guest,
            suspends: 0,
            stopped_at: 0,
            preserved_at: 0,
        }
    }

    /// The magic, the guest's number, then the other numbers in little-endian.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = [&LABEL_MAGIC[..], &self.guest].concat();
        for number in [self.suspends, self.stopped_at, self.preserved_at] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: [u8; LABEL_SIZE]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (guest, mut rest) = rest.split_first_chunk::<16>()?;
        let mut number = || {
            let (first, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*first))
        };
        let label = Self {
            guest: *guest,
            suspends: number()?,
            stopped_at: number()?,
            preserved_at: number()?,
        };
        (*magic == LABEL_MAGIC).then_some(label)
    }
}

/// Guest RAM.
pub struct Ram {
    file: File,
    map: GuestMemoryMmap,
    bytes: u64,
}

impl Ram {
    /// Makes the memory of a new guest, of `mib` MiB.
    pub fn create(name: &str, mib: u64, pages: Pages) -> Result<Self> {
        let bytes = check_size(mib.saturating_mul(MIB))?;
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut label = LABEL_ROOM;
        if pages == Pages::Hugetlb {
            flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
            label = 2 * MIB;
        }
        let file = File::from(
            rustix::fs::memfd_create(name, flags).context("cannot create the memory's memfd")?,
        );
        file.set_len(bytes + label)
            .context("cannot set the memory's size")?;
        Self::map(file, bytes, pages)
    }

    /// Takes the memory over from the previous kernel. `bytes` is the guest's RAM according
    /// to its state.
    pub fn take_over(file: File, bytes: u64, pages: Pages) -> Result<Self> {
        let bytes = check_size(bytes)?;
        let size = file.metadata()?.len();
        ensure!(
            size >= bytes + LABEL_ROOM,
            "the preserved memory has {size} bytes, but the state is that of a guest with {bytes}"
        );
        Self::map(file, bytes, pages)
    }

    fn map(file: File, bytes: u64, pages: Pages) -> Result<Self> {
        let range = (
            GuestAddress(0),
            bytes as usize,
            Some(FileOffset::new(file.try_clone()?, 0)),
        );
        let map = GuestMemoryMmap::from_ranges_with_files([range])
            .context("cannot map the guest's memory")?;
        if pages == Pages::Thp {
            sys::advise_huge_pages(&map).context("cannot ask for huge pages")?;
        }
        Ok(Self { file, map, bytes })
    }

    /// The memfd, to preserve it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The mapped memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.map
    }

    /// Size of the guest's RAM in bytes, without the label.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the label. The file's position is not used, because it crosses the kexec.
    pub fn write_label(&self, label: &Label) -> Result<()> {
        self.file
            .write_all_at(&label.encode(), self.bytes)
            .context("cannot write the memory's label")
    }

    /// Reads the label.
    pub fn label(&self) -> Result<Label> {
        let mut bytes = [0; LABEL_SIZE];
        self.file
            .read_exact_at(&mut bytes, self.bytes)
            .context("cannot read the memory's label")?;
        Label::decode(bytes).context("the preserved memory has no label: it is not that of a guest")
    }
}

fn check_size(bytes: u64) -> Result<u64> {
    ensure!(
        (16 * MIB..=RAM_LIMIT).contains(&bytes) && bytes % (2 * MIB) == 0,
        "a guest's memory is 16 MiB to 3 GiB, in steps of 2 MiB"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_round_trip() {
        let ram = Ram::create("test", 16, Pages::Small).unwrap();
        assert!(ram.label().is_err());
        let mut label = Label::new([7; 16]);
        label.suspends = u64::MAX;
        ram.write_label(&label).unwrap();
        assert_eq!(ram.label().unwrap(), label);
        let again = Ram::take_over(ram.file().try_clone().unwrap(), 16 * MIB, Pages::Small);
        assert_eq!(again.unwrap().label().unwrap(), label);
    }

    #[test]
    fn refuses_sizes() {
        assert!(Ram::create("test", 0, Pages::Small).is_err());
        assert!(Ram::create("test", 17, Pages::Small).is_err());
        assert!(Ram::create("test", u64::MAX, Pages::Small).is_err());
        let small = Ram::create("test", 16, Pages::Small).unwrap();
        let file = small.file().try_clone().unwrap();
        let error = Ram::take_over(file, 32 * MIB, Pages::Small).err().unwrap();
        assert!(error.to_string().contains("33554432"), "{error}");
    }
}
