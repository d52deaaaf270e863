// SPDX-License-Identifier: GPL-2.0-only

//! Objects bound to the life of files (FLBs): one page, which the root leads to.
//!
//! ```text
//!   0      8      16                                     80
//!   ┌──────┬──────┬──────────────────────┬──────┬───────┬─────
//!   │pages │count │ name, ended by a NUL │ data │ count │ ...      at most 63 entries
//!   │ = 1  │      │ 48 bytes             │      │       │
//!   └──────┴──────┴──────────────────────┴──────┴───────┴─────
//! ```
//!
//! [`include/linux/kho/abi/luo.h`](srctree/include/linux/kho/abi/luo.h) is the authority.

use super::{
    luo::{
        padded,
        until_nul, //
    },
    Damage,
    Memory,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

record! {
    /// `struct luo_flb_header_ser`: begins the page.
    pub(crate) struct FlbHeader {
        /// Pages, this one included.
        pub pages: u64,
        /// Entries that follow.
        pub count: u64,
    }
}

record! {
    /// `struct luo_flb_ser`.
    pub(crate) struct FlbEntry {
        /// The name of the FLB, ended by a NUL.
        pub name: [u8; 48],
        /// What the FLB stored.
        pub data: u64,
        /// How many files depend on it.
        pub count: u64,
    }
}

/// How many entries fit in the page.
pub(crate) const MAX_FLBS: usize = (PAGE_SIZE - FlbHeader::SIZE) / FlbEntry::SIZE;

impl FlbEntry {
    /// An entry. Names are shorter than the field.
    pub(crate) fn new(name: &str, data: u64, count: u64) -> Self {
        Self {
            name: padded(name),
            data,
            count,
        }
    }

    /// Whether this is the entry of the FLB of that name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        until_nul(&self.name) == Some(name.as_bytes())
    }
}

/// Writes the page: `push` adds entries.
pub(crate) struct FlbWriter<'a> {
    page: &'a mut [u8],
    count: usize,
}

impl<'a> FlbWriter<'a> {
    /// A page without entries.
    pub(crate) fn new(page: &'a mut [u8]) -> Self {
        let mut writer = Self { page, count: 0 };
        writer.write_header();
        writer
    }

    fn write_header(&mut self) {
        let header = FlbHeader {
            pages: 1,
            count: self.count as u64,
        };
        header.store(self.page);
    }

    /// Adds an entry, if there is room for it.
    pub(crate) fn push(&mut self, entry: &FlbEntry) {
        if self.count < MAX_FLBS {
            let at = FlbHeader::SIZE + self.count * FlbEntry::SIZE;
            entry.store(self.page.get_mut(at..).unwrap_or_default());
            self.count += 1;
            self.write_header();
        }
    }
}

impl FlbHeader {
    /// Reads the header of the page at `at`.
    pub(crate) fn read(memory: &impl Memory, at: PhysAddr) -> Result<Self, Damage> {
        let header: Self = memory.record(at)?;
        if header.pages != 1 || header.count > MAX_FLBS as u64 {
            return Err(Damage::FlbList {
                pages: header.pages,
                count: header.count,
            });
        }
        Ok(header)
    }

    /// Reads the rest of the page at `at`, and calls `each` with every entry. `page` has room for a page.
    ///
    /// A name without an end, or one that is there twice, is damage, and so is an entry on which no
    /// file depends: nobody could ever finish it.
    pub(crate) fn entries(
        &self,
        memory: &impl Memory,
        at: PhysAddr,
        page: &mut [u8],
        each: impl FnMut(FlbEntry),
    ) -> Result<(), Damage> {
        memory.peek(at, page)?;
        let entries = page.get(Self::SIZE..).unwrap_or_default();
        let entries = || {
            let entries = entries.chunks_exact(FlbEntry::SIZE);
            entries.take(self.count as usize).map(FlbEntry::load)
        };
        for (nr, entry) in entries().enumerate() {
            let name = until_nul(&entry.name).filter(|name| !name.is_empty());
            let twice = entries()
                .take(nr)
                .any(|other| until_nul(&other.name) == name);
            if name.is_none() || twice || entry.count == 0 {
                return Err(Damage::Flb { name: entry.name });
            }
        }
        entries().for_each(each);
        Ok(())
    }
}
