// SPDX-License-Identifier: GPL-2.0-only

//! The root, sessions and files. The picture is in [`abi`](super).
//!
//! [`include/linux/kho/abi/luo.h`](srctree/include/linux/kho/abi/luo.h) is the authority.

use super::{
    Damage,
    Memory,
    PhysAddr,
    Record, //
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
        /// The page of [FLBs](super::flb), or 0.
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
