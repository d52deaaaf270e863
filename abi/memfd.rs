// SPDX-License-Identifier: GPL-2.0-only

//! A memfd (`include/linux/kho/abi/memfd.h`). How its folios are claimed is in [`super::folios`].

use super::{
    vmalloc::Descriptor,
    Damage,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

/// The version of everything in this file.
pub(crate) const COMPATIBLE: &str = "memfd-v2";

/// The largest size and position of a file.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// The seals that this version carries: `MEMFD_LUO_ALL_SEALS`, which is 0x3f.
pub(crate) const ALL_SEALS: u32 = 0x3f;

/// The folio holds data and must not be thrown away.
pub(crate) const FOLIO_DIRTY: u64 = 1 << 0;
/// The folio was zeroed or written; one that was not must be zeroed before it is used.
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
        /// None yet.
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
        /// The page frame number in the lower 52 bits, flags in the upper 12.
        pub pfn_flags: u64,
        /// Where the folio begins in the file, in pages.
        pub index: u64,
    }
}

impl Header {
    /// Changes what can change until the last moment in a header that was written to `bytes`.
    pub(crate) fn refresh(bytes: &mut [u8], pos: u64, seals: u32) {
        let mut header = Self::load(bytes);
        (header.pos, header.seals) = (pos, seals);
        header.store(bytes);
    }
}

const PFN_BITS: u32 = 52;

impl FolioEntry {
    /// What stands behind the last entry.
    pub(crate) const EMPTY: Self = Self {
        pfn_flags: 0,
        index: 0,
    };

    /// Packs an entry.
    pub(crate) fn new(pfn: u64, flags: u64, index: u64) -> Self {
        Self {
            pfn_flags: (pfn & ((1 << PFN_BITS) - 1)) | (flags << PFN_BITS),
            index,
        }
    }

    /// The address of the folio.
    pub(crate) fn addr(&self) -> PhysAddr {
        PhysAddr(self.pfn() * PAGE_SIZE as u64)
    }

    /// The page frame number.
    pub(crate) fn pfn(&self) -> u64 {
        self.pfn_flags & ((1 << PFN_BITS) - 1)
    }

    /// Whether this is what stands behind the last entry of an array.
    pub(crate) fn is_empty(&self) -> bool {
        self.pfn_flags == 0 && self.index == 0
    }

    /// `FOLIO_*`.
    pub(crate) fn flags(&self) -> u64 {
        self.pfn_flags >> PFN_BITS
    }
}

/// A header that was checked.
///
/// # Invariants
///
/// Size and position are such as a file can have, seals are known ones, there are no flags, and
/// the array has room for `nr_folios` entries and not a page more.
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
        let room = u64::from(header.total_pages) * (PAGE_SIZE / FolioEntry::SIZE) as u64;
        // KHO preserves whole areas of 2^order pages.
        let slack = ((PAGE_SIZE / FolioEntry::SIZE) as u64) << u32::from(header.order.min(10));
        let fits = if header.nr_folios > 0 {
            header.nr_folios <= room && room - header.nr_folios < slack
        } else {
            room == 0 && header.first == 0
        };
        if !fits {
            return Err(Damage::ArrayLength {
                entries: header.nr_folios,
                capacity: room,
            });
        }
        // INVARIANT: All of it was checked above.
        Ok(memfd)
    }

    /// Position of the file.
    pub(crate) fn pos(&self) -> i64 {
        self.header.pos as i64
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> i64 {
        self.header.size as i64
    }

    /// Size in pages, rounded up.
    pub(crate) fn pages(&self) -> u64 {
        self.header.size.div_ceil(PAGE_SIZE as u64)
    }

    /// `F_SEAL_*`.
    pub(crate) fn seals(&self) -> u32 {
        self.header.seals
    }

    /// How many folios there are.
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
