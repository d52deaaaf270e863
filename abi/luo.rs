// SPDX-License-Identifier: GPL-2.0-only

//! The root, sessions and files. The picture is in [`abi`](super).
//!
//! [`include/linux/kho/abi/luo.h`](srctree/include/linux/kho/abi/luo.h) is the authority.

use super::{
    Damage,
    Memory,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

/// The name of the KHO subtree that holds the root.
pub(crate) const SUBTREE: &core::ffi::CStr = c"LUO";

/// The version of everything in this file.
pub(crate) const COMPATIBLE: [u8; 8] = *b"luo-v5\0\0";

record! {
    /// `struct luo_ser`: the root.
    pub(crate) struct Root {
        /// [`COMPATIBLE`].
        pub compatible: [u8; 8],
        /// How many live updates led to the kernel that reads this.
        pub liveupdate_num: u64,
        /// First block of [`SessionEntry`]s, or 0.
        pub sessions: u64,
        /// The page of file-lifecycle-bound objects, or 0.
        pub flbs: u64,
    }
}

record! {
    /// `struct luo_session_ser`.
    pub(crate) struct SessionEntry {
        /// The name, ended by a NUL.
        pub name: [u8; 64],
        /// First block of [`FileEntry`]s, or 0.
        pub files: u64,
        /// How many files there are in all blocks.
        pub count: u64,
    }
}

record! {
    /// `struct luo_file_ser`.
    pub(crate) struct FileEntry {
        /// The name of the handler that wrote it, ended by a NUL.
        pub compatible: [u8; 48],
        /// What the handler stored: for the handlers of this module, a physical address.
        pub data: u64,
        /// The name that the user gave to the file.
        pub token: u64,
    }
}

record! {
    /// `struct luo_flb_header_ser`: begins the page of file-lifecycle-bound objects.
    pub(crate) struct FlbHeader {
        /// Pages, this one included.
        pub pages: u64,
        /// Objects that follow.
        pub count: u64,
    }
}

impl Root {
    /// Reads the root, which KHO says is `size` bytes at `at`.
    pub(crate) fn read(memory: &impl Memory, at: PhysAddr, size: u64) -> Result<Self, Damage> {
        if size < Self::SIZE as u64 {
            return Err(Damage::RootSize { size });
        }
        let root: Self = memory.record(at)?;
        if root.compatible != COMPATIBLE {
            return Err(Damage::RootVersion {
                version: root.compatible,
            });
        }
        Ok(root)
    }
}

/// How many objects fit in a page (`struct luo_flb_ser`).
const FLBS_PER_PAGE: u64 = ((PAGE_SIZE - FlbHeader::SIZE) / 64) as u64;

impl FlbHeader {
    /// Reads the list of file-lifecycle-bound objects.
    pub(crate) fn read(memory: &impl Memory, at: PhysAddr) -> Result<Self, Damage> {
        let header: Self = memory.record(at)?;
        if header.pages != 1 || header.count > FLBS_PER_PAGE {
            return Err(Damage::FlbList {
                pages: header.pages,
                count: header.count,
            });
        }
        Ok(header)
    }
}

/// The bytes of a string up to its NUL, if it has one within `field`.
pub(crate) fn until_nul(field: &[u8]) -> Option<&[u8]> {
    field
        .split(|b| *b == 0)
        .next()
        .filter(|s| s.len() < field.len())
}

/// A field that holds `text`, which is cut off if it is too long, and NULs after it.
pub(crate) const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let mut field = [0; N];
    let mut i = 0;
    while i < text.len() && i + 1 < N {
        field[i] = text[i];
        i += 1;
    }
    field
}
