// SPDX-License-Identifier: GPL-2.0-only

//! The header of a memfd, and the entry of one of its folios.
//!
//! ```text
//!  byte 0      8      16      20      24          32      40            44      46      48
//!       ┌──────┬──────┬───────┬───────┬───────────┬───────┬─────────────┬───────┬───────┐
//!       │ pos  │ size │ seals │ flags │ nr_folios │ first │ total_pages │ flags │ order │
//!       └──────┴──────┴───────┴───────┴───────────┴───────┴─────────────┴───────┴───────┘
//!        bytes  bytes  F_SEAL_*  0                 └─── the array: struct kho_vmalloc ──┘
//! ```
//!
//! [`include/linux/kho/abi/memfd.h`](srctree/include/linux/kho/abi/memfd.h) is the authority. The
//! folios are in [`array`](super::array).

use super::{
    array::ENTRIES_PER_PAGE,
    units::{
        Order,
        PageIndex,
        Pfn,
        MAX_PAGE_ORDER, //
    },
    vmalloc::Descriptor,
    Damage,
    Record, //
};

/// The version of everything in this file.
pub(crate) const COMPATIBLE: &str = "memfd-v2";

/// The largest size and position of a file.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// The seals that this version carries: `MEMFD_LUO_ALL_SEALS`, which is 0x3f.
pub(crate) const ALL_SEALS: u32 = 0x3f;

/// The folio holds data that must not be dropped.
pub(crate) const FOLIO_DIRTY: u64 = 1 << 0;
/// The folio was zeroed or written. One without this must be zeroed before it is used.
pub(crate) const FOLIO_UPTODATE: u64 = 1 << 1;

record! {
    /// `struct memfd_luo_ser`.
    pub(crate) struct Header {
        /// Position of the file.
        pub pos: u64,
        /// Size in bytes.
        pub size: u64,
        /// `F_SEAL_*`.
        pub seals: u32,
        /// None are defined.
        pub flags: u32,
        /// How many [`FolioEntry`]s the array has.
        pub nr_folios: u64,
        /// Where the array is: the fields of [`Descriptor`].
        pub first: u64,
        /// See [`Descriptor`].
        pub total_pages: u32,
        /// See [`Descriptor`].
        pub array_flags: u16,
        /// See [`Descriptor`].
        pub order: u16,
    }
}

record! {
    /// `struct memfd_luo_folio_ser`.
    pub(crate) struct FolioEntry {
        /// The frame number in the lower 52 bits, `FOLIO_*` in the upper 12.
        pub pfn_flags: u64,
        /// Where the folio begins in the file.
        pub index: PageIndex,
    }
}

impl Header {
    /// Describes a file of `size` bytes at position `pos` that has `nr_folios` folios, which `array`
    /// names.
    pub(crate) fn new(
        pos: u64,
        size: u64,
        seals: u32,
        nr_folios: u64,
        array: Option<Descriptor>,
    ) -> Self {
        let array = array.unwrap_or(Descriptor {
            first: 0,
            total_pages: 0,
            flags: 0,
            order: 0,
        });
        Self {
            pos,
            size,
            seals,
            flags: 0,
            nr_folios,
            first: array.first,
            total_pages: array.total_pages,
            array_flags: array.flags,
            order: array.order,
        }
    }

    /// Changes the position and the seals in a header that was written to `bytes`.
    pub(crate) fn refresh(bytes: &mut [u8], pos: u64, seals: u32) {
        let mut header = Self::load(bytes);
        (header.pos, header.seals) = (pos, seals);
        header.store(bytes);
    }
}

const PFN_BITS: u32 = 52;

impl FolioEntry {
    /// Stands after the last entry.
    pub(crate) const EMPTY: Self = Self {
        pfn_flags: 0,
        index: PageIndex::START,
    };

    /// Packs an entry.
    #[inline]
    pub(crate) fn new(pfn: Pfn, flags: u64, index: PageIndex) -> Self {
        Self {
            pfn_flags: (pfn.0 & ((1 << PFN_BITS) - 1)) | (flags << PFN_BITS),
            index,
        }
    }

    /// The frame in which the folio begins.
    #[inline]
    pub(crate) fn pfn(&self) -> Pfn {
        Pfn(self.pfn_flags & ((1 << PFN_BITS) - 1))
    }

    /// Whether this is what stands after the last entry of an array.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// `FOLIO_*`.
    #[inline]
    pub(crate) fn flags(&self) -> u64 {
        self.pfn_flags >> PFN_BITS
    }
}

/// A header that was checked.
///
/// # Invariants
///
/// - `size` and `pos` are at most `i64::MAX`.
/// - `seals` is a subset of [`ALL_SEALS`], and `flags` is 0.
/// - `nr_folios` is at most the size in pages. The array has room for as many entries, and would not
///   with one array page less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memfd {
    header: Header,
}

impl Memfd {
    /// Checks all that the header alone can tell.
    pub(crate) fn new(header: Header) -> Result<Self, Damage> {
        if header.size > MAX_OFFSET {
            return Err(Damage::FileSize { size: header.size });
        }
        if header.pos > MAX_OFFSET {
            return Err(Damage::FileSize { size: header.pos });
        }
        if header.seals & !ALL_SEALS != 0 {
            return Err(Damage::Seals {
                seals: header.seals,
            });
        }
        if header.flags != 0 {
            return Err(Damage::Flags {
                flags: header.flags.into(),
            });
        }
        let memfd = Self { header };
        if header.nr_folios > memfd.pages() {
            return Err(Damage::FolioCount {
                folios: header.nr_folios,
                pages: memfd.pages(),
            });
        }
        let capacity = u64::from(header.total_pages) * ENTRIES_PER_PAGE as u64;
        let per_array_page = (ENTRIES_PER_PAGE as u64) << header.order.min(MAX_PAGE_ORDER.into());
        let fits = if header.nr_folios > 0 {
            header.nr_folios <= capacity && capacity - header.nr_folios < per_array_page
        } else {
            capacity == 0 && header.first == 0
        };
        if !fits {
            return Err(Damage::ArrayLength {
                entries: header.nr_folios,
                capacity,
            });
        }
        // INVARIANT: All of it was checked above.
        Ok(memfd)
    }

    /// Position of the file, in bytes.
    pub(crate) fn pos(&self) -> i64 {
        self.header.pos as i64
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> i64 {
        self.header.size as i64
    }

    /// Where the file ends: its size in pages, rounded up.
    pub(crate) fn end(&self) -> PageIndex {
        PageIndex::end_of(self.header.size)
    }

    /// Size in pages, rounded up.
    pub(crate) fn pages(&self) -> u64 {
        self.end().0
    }

    /// How many pages its folios can have, if none is larger than `max_order`. The last one may reach
    /// over the end of the file.
    pub(crate) fn max_pages(&self, max_order: Order) -> u64 {
        let folio = max_order.pages();
        let by_count = self.nr_folios().saturating_mul(folio);
        by_count.min(self.pages().saturating_add(folio))
    }

    /// `F_SEAL_*`.
    pub(crate) fn seals(&self) -> u32 {
        self.header.seals
    }

    /// How many folios the file has.
    pub(crate) fn nr_folios(&self) -> u64 {
        self.header.nr_folios
    }

    /// Where the array of folios is.
    pub(crate) fn array(&self) -> Descriptor {
        Descriptor {
            first: self.header.first,
            total_pages: self.header.total_pages,
            flags: self.header.array_flags,
            order: self.header.order,
        }
    }
}
