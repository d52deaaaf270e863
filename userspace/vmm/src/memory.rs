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
//! The guest cannot write to the label. It says which guest the memory belongs to, how often
//! it was suspended, and whether it has run since. The state of another guest, or of an
//! earlier suspend, does not fit this memory, and running with it would corrupt the guest.

use std::fs::File;

use anyhow::{ensure, Context, Result};
use liveupdate::memory::{Options, PageSize};
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

use crate::sys;

const MIB: u64 = 1 << 20;
const LABEL_SIZE: usize = 48;
const LABEL_MAGIC: [u8; 8] = *b"LUVMRAM\0";

/// The smallest size of a guest's RAM in bytes.
pub const RAM_MIN: u64 = 16 * MIB;
/// The guest's devices begin at this address, so RAM must end before it.
pub const RAM_LIMIT: u64 = 3 << 30;

/// The pages that the memory consists of.
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

impl Pages {
    /// Size of a page in bytes, in which the file grows.
    fn size(self) -> u64 {
        match self {
            Self::Small | Self::Thp => 4096,
            Self::Hugetlb => 2 * MIB,
        }
    }
}

/// What the memory says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// A random number that the guest got when it was started.
    pub guest: [u8; 16],
    /// Number of suspends since then.
    pub suspends: u64,
    /// The host's TSC when the vCPUs had stopped; 0 while the guest runs.
    pub stopped_at: u64,
    /// The host's TSC when all was preserved.
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
    /// The last page of the file. It is mapped, because hugetlb files cannot be written to.
    label: GuestMemoryMmap,
    bytes: u64,
}

impl Ram {
    /// Makes the memory of a new guest, of `mib` MiB.
    pub fn create(name: &str, mib: u64, pages: Pages) -> Result<Self> {
        let bytes = check_size(mib.saturating_mul(MIB))?;
        let file = Options::new(name)
            .size(bytes + pages.size())
            .pages(match pages {
                Pages::Small | Pages::Thp => PageSize::Base,
                Pages::Hugetlb => PageSize::Huge2M,
            })
            .create()?;
        Self::map(file.into(), bytes, pages)
    }

    /// Takes the memory over from the previous kernel. `bytes` is the guest's RAM according
    /// to its state.
    pub fn take_over(file: File, bytes: u64, pages: Pages) -> Result<Self> {
        let bytes = check_size(bytes)?;
        let size = file.metadata()?.len();
        // With another size, the label would be read from memory that the guest can write to.
        ensure!(
            size == bytes + pages.size(),
            "the preserved memory has {size} bytes, but the state is that of a guest with {bytes}"
        );
        Self::map(file, bytes, pages)
    }

    fn map(file: File, bytes: u64, pages: Pages) -> Result<Self> {
        let map = |begin: u64, length: u64| {
            let part = Some(FileOffset::new(file.try_clone()?, begin));
            GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), length as usize, part)])
                .context("cannot map the guest's memory")
        };
        let (label, map) = (map(bytes, pages.size())?, map(0, bytes)?);
        if pages == Pages::Thp {
            sys::advise_huge_pages(&map).context("cannot ask for huge pages")?;
        }
        Ok(Self {
            file,
            map,
            label,
            bytes,
        })
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

    /// Writes the label.
    pub fn write_label(&self, label: &Label) -> Result<()> {
        self.label
            .write_slice(&label.encode(), GuestAddress(0))
            .context("cannot write the memory's label")
    }

    /// Reads the label.
    pub fn label(&self) -> Result<Label> {
        let mut bytes = [0; LABEL_SIZE];
        self.label
            .read_slice(&mut bytes, GuestAddress(0))
            .context("cannot read the memory's label")?;
        Label::decode(bytes).context("the preserved memory has no label: it is not that of a guest")
    }
}

fn check_size(bytes: u64) -> Result<u64> {
    ensure!(
        is_size(bytes),
        "a guest's memory is 16 MiB to 3 GiB, in steps of 2 MiB"
    );
    Ok(bytes)
}

/// Whether a guest may have that many bytes of RAM.
pub fn is_size(bytes: u64) -> bool {
    (RAM_MIN..=RAM_LIMIT).contains(&bytes) && bytes % (2 * MIB) == 0
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
        let ram = Ram::create("test", 32, Pages::Small).unwrap();
        let refusal = |bytes: u64, pages| {
            let file = ram.file().try_clone().unwrap();
            Ram::take_over(file, bytes, pages)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refusal(32 * MIB, Pages::Thp), None);
        assert!(refusal(64 * MIB, Pages::Small)
            .unwrap()
            .contains("67108864"));
        // Where the label would be, the guest can write.
        assert!(refusal(16 * MIB, Pages::Small)
            .unwrap()
            .contains("16777216"));
        assert!(refusal(32 * MIB, Pages::Hugetlb).is_some());
    }
}
