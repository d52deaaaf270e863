// SPDX-License-Identifier: GPL-2.0-only

//! What the next kernel is told about a device: where it is, and what it is.
//!
//! ```text
//!   63         48 47       40 39    35 34      32 31         16 15          0
//!  ┌─────────────┬───────────┬────────┬──────────┬─────────────┬─────────────┐
//!  │   segment   │    bus    │ device │ function │  vendor ID  │  device ID  │
//!  └─────────────┴───────────┴────────┴──────────┴─────────────┴─────────────┘
//! ```
//!
//! These 64 bits are the data of the file, so nothing is allocated for it. How the device crosses, and
//! the page tables that its DMA goes through, are the kernel's own: it needs them at boot, long before a
//! module is loaded.
//!
//! Any 64 bits are a record, because only the kernel can tell whether there is such a device and whether
//! it was preserved. This file uses `core` and nothing else; `host/` tests it.

use core::fmt;

/// The name and version of the format.
pub(crate) const COMPATIBLE: &str = "vfio-pci-v1";

/// Where a PCI device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The number of its PCI segment group, which Linux calls a domain.
    pub(crate) segment: u16,
    /// Bus, device and function, as in the picture above.
    pub(crate) bdf: u16,
}

impl Location {
    /// The number of the bus in the segment.
    pub(crate) fn bus(self) -> u8 {
        self.bdf.to_be_bytes()[0]
    }

    /// Device and function on the bus.
    pub(crate) fn devfn(self) -> u8 {
        self.bdf.to_be_bytes()[1]
    }
}

/// As in the log lines of the kernel: `0000:00:03.0`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, devfn) = (self.bus(), self.devfn());
        let (device, function) = (devfn >> 3, devfn & 7);
        write!(f, "{:04x}:{bus:02x}:{device:02x}.{function}", self.segment)
    }
}

/// What a PCI device is. Another device at the same location mostly has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Who made it.
    pub(crate) vendor: u16,
    /// Which of the vendor's devices it is.
    pub(crate) device: u16,
}

/// As `lspci -n` shows them: `8086:100e`.
impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// A device that crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where it is.
    pub(crate) at: Location,
    /// What it is.
    pub(crate) ids: Ids,
}

impl Record {
    /// Reads the data of a file.
    pub(crate) fn from_data(data: u64) -> Self {
        let part = |shift: u32| (data >> shift) as u16;
        Self {
            at: Location {
                segment: part(48),
                bdf: part(32),
            },
            ids: Ids {
                vendor: part(16),
                device: part(0),
            },
        }
    }

    /// The data of the file.
    pub(crate) fn to_data(self) -> u64 {
        u64::from(self.at.segment) << 48
            | u64::from(self.at.bdf) << 32
            | u64::from(self.ids.vendor) << 16
            | u64::from(self.ids.device)
    }
}
