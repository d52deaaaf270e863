// SPDX-License-Identifier: GPL-2.0-only

//! The entries of a record, each by itself: objects and areas.

use core::cmp::Ordering;

use super::Why;

/// The largest ID that iommufd gives to an object. The smallest one is 1.
const MAX_ID: u32 = i32::MAX as u32;

/// The largest offset in a file: the kernel's `loff_t` is signed.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// Types of objects.
const IOAS: u32 = 1;
const HWPT: u32 = 2;
const DEVICE: u32 = 3;

/// A flag of an IOAS, one of a HWPT, and two of an area.
const SMALL_PAGES: u32 = 1 << 0;
const AUTO: u32 = 1 << 0;
const READ: u32 = 1 << 0;
const WRITE: u32 = 1 << 1;

/// An object of an iommufd. IDs are those that user space knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// An address space for IO.
    Ioas {
        id: u32,
        /// Its page tables have no large pages.
        small_pages: bool,
    },
    /// A page table of an IOMMU: a hardware page table (HWPT).
    Hwpt {
        id: u32,
        /// The ID of the IOAS that it maps.
        ioas: u32,
        /// iommufd made it, when a device was attached to the IOAS.
        auto: bool,
        /// The ID of a device that is attached to it.
        device: u32,
    },
    /// A device that is bound.
    Device {
        id: u32,
        /// The ID of the page table that it is attached to, 0 if there is none.
        hwpt: u32,
        /// Which device it is, by its location and IDs: the record of `vfio-pci-v1`.
        pci: u64,
    },
}

/// What an IOAS maps: a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The ID of the IOAS.
    pub(crate) ioas: u32,
    /// The device may read.
    pub(crate) read: bool,
    /// The device may write.
    pub(crate) write: bool,
    /// Where it begins for the device, in bytes.
    pub(crate) iova: u64,
    /// Its size in bytes.
    pub(crate) length: u64,
    /// Where it begins in the file, in bytes.
    pub(crate) offset: u64,
}

/// A mapping, and the token of its file in the session of the iommufd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) mapping: Mapping,
    pub(crate) token: u64,
}

/// Missing bytes read as zero.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().map(u32::from_ne_bytes).unwrap_or_default()
}

/// Missing bytes read as zero.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().map(u64::from_ne_bytes).unwrap_or_default()
}

/// Writes `value`, if there is room for it.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(to) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *to = value;
    }
}

/// `bit` if `is_set`.
fn flag(bit: u32, is_set: bool) -> u32 {
    if is_set {
        bit
    } else {
        0
    }
}

/// Fails if `flags` has others than `known`.
fn check_flags(flags: u32, known: u32) -> Result<(), Why> {
    if flags & !known != 0 {
        return Err("it has unknown flags");
    }
    Ok(())
}

impl Object {
    /// Bytes that an object takes.
    pub(super) const SIZE: usize = 24;

    pub(crate) fn id(&self) -> u32 {
        match *self {
            Self::Ioas { id, .. } | Self::Hwpt { id, .. } | Self::Device { id, .. } => id,
        }
    }

    /// Reads an object. Whether there are others with the IDs that it names is not checked.
    pub(super) fn load(bytes: &[u8]) -> Result<Self, Why> {
        let [kind, flags, id, parent] = [0, 4, 8, 12].map(|at| u32_at(bytes, at));
        let device = u64_at(bytes, 16);
        if id == 0 || id > MAX_ID {
            return Err("an object has an ID that iommufd never gives");
        }
        match kind {
            IOAS => {
                check_flags(flags, SMALL_PAGES)?;
                if parent != 0 || device != 0 {
                    return Err("an IOAS has a parent or a device");
                }
                Ok(Self::Ioas {
                    id,
                    small_pages: flags & SMALL_PAGES != 0,
                })
            }
            HWPT => {
                check_flags(flags, AUTO)?;
                Ok(Self::Hwpt {
                    id,
                    ioas: parent,
                    auto: flags & AUTO != 0,
                    // No object has the ID 0.
                    device: device.try_into().unwrap_or(0),
                })
            }
            DEVICE => {
                check_flags(flags, 0)?;
                Ok(Self::Device {
                    id,
                    hwpt: parent,
                    pci: device,
                })
            }
            _ => Err("it has an object of an unknown type"),
        }
    }

    pub(super) fn store(&self, bytes: &mut [u8]) {
        let (kind, flags, parent, device) = match *self {
            Self::Ioas { small_pages, .. } => (IOAS, flag(SMALL_PAGES, small_pages), 0, 0),
            Self::Hwpt {
                ioas, auto, device, ..
            } => (HWPT, flag(AUTO, auto), ioas, device.into()),
            Self::Device { hwpt, pci, .. } => (DEVICE, 0, hwpt, pci),
        };
        put(bytes, 0, kind.to_ne_bytes());
        put(bytes, 4, flags.to_ne_bytes());
        put(bytes, 8, self.id().to_ne_bytes());
        put(bytes, 12, parent.to_ne_bytes());
        put(bytes, 16, device.to_ne_bytes());
    }
}

impl Mapping {
    /// Whether it ends before `next`, which may be of a later IOAS, begins.
    pub(super) fn is_before(&self, next: &Self) -> bool {
        match self.ioas.cmp(&next.ioas) {
            Ordering::Less => true,
            Ordering::Equal => self
                .iova
                .checked_add(self.length)
                .is_some_and(|end| end <= next.iova),
            Ordering::Greater => false,
        }
    }
}

impl Area {
    /// Bytes that an area takes.
    pub(super) const SIZE: usize = 40;

    /// Reads an area. Whether there is such an IOAS is not checked.
    pub(super) fn load(bytes: &[u8]) -> Result<Self, Why> {
        let [flags, ioas] = [0, 4].map(|at| u32_at(bytes, at));
        let [iova, length, offset, token] = [8, 16, 24, 32].map(|at| u64_at(bytes, at));
        check_flags(flags, READ | WRITE)?;
        if flags == 0 {
            return Err("an area can be neither read nor written");
        }
        // The last byte may be the last one that there is.
        let last = length.checked_sub(1).ok_or("an area is empty")?;
        if iova.checked_add(last).is_none() {
            return Err("an area has no end");
        }
        // For a larger one, the sum with which iommufd counts its pages can overflow.
        if offset.checked_add(last).is_none_or(|end| end > MAX_OFFSET) {
            return Err("an area ends where no file can");
        }
        Ok(Self {
            mapping: Mapping {
                ioas,
                read: flags & READ != 0,
                write: flags & WRITE != 0,
                iova,
                length,
                offset,
            },
            token,
        })
    }

    pub(super) fn store(&self, bytes: &mut [u8]) {
        let mapping = &self.mapping;
        let flags = flag(READ, mapping.read) | flag(WRITE, mapping.write);
        put(bytes, 0, flags.to_ne_bytes());
        put(bytes, 4, mapping.ioas.to_ne_bytes());
        put(bytes, 8, mapping.iova.to_ne_bytes());
        put(bytes, 16, mapping.length.to_ne_bytes());
        put(bytes, 24, mapping.offset.to_ne_bytes());
        put(bytes, 32, self.token.to_ne_bytes());
    }
}
