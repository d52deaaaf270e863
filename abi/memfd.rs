// SPDX-License-Identifier: GPL-2.0-only

//! A memfd (`include/linux/kho/abi/memfd.h`).

use core::ops::Range;

use super::{
    memory::{
        MAX_FRAMES,
        NO_ORDER, //
    },
    vmalloc::{
        self,
        Descriptor, //
    },
    ClaimMemory,
    PhysAddr,
    Record,
    Refusal,
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
    pub(crate) fn new(header: Header) -> Result<Self, Refusal> {
        if header.size > MAX_OFFSET {
            return Err(Refusal::FileSize(header.size));
        }
        if header.pos > MAX_OFFSET {
            return Err(Refusal::FileSize(header.pos));
        }
        if header.seals & !ALL_SEALS != 0 {
            return Err(Refusal::Seals(header.seals));
        }
        if header.flags != 0 {
            return Err(Refusal::Flags(header.flags.into()));
        }
        let memfd = Self { header };
        if header.nr_folios > memfd.pages() {
            return Err(Refusal::FolioCount(header.nr_folios, memfd.pages()));
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
            return Err(Refusal::ArrayLength(header.nr_folios, room));
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

    /// Claims the folios of the file and the array that lists them, in order, and gives them to
    /// `visit` in runs.
    ///
    /// At the first thing that is wrong it stops, and leaves what comes after it to nobody.
    pub(crate) fn for_each_run<M: ClaimMemory>(
        &self,
        memory: &M,
        mut visit: impl FnMut(M::Folios<'_>, &FolioRun),
    ) -> Result<(), Refusal> {
        if self.nr_folios() == 0 {
            return Ok(());
        }
        let array = self.array();
        let mut parts_left = array.check()?;
        let mut lists_left = vmalloc::lists_for(parts_left);
        let mut in_order = FolioOrder::new(self.pages(), memory.max_folio_order());
        let mut left = self.nr_folios();
        let mut next = array.first;
        while next != 0 {
            lists_left = lists_left.checked_sub(1).ok_or(Refusal::ArrayForm)?;
            let list = memory.claim_pages(PhysAddr(next), 0)?;
            for i in 0..vmalloc::PARTS_PER_CHUNK {
                let at = vmalloc::part(list.as_ref(), i);
                if at == 0 {
                    break;
                }
                parts_left = parts_left.checked_sub(1).ok_or(Refusal::ArrayForm)?;
                let part = memory.claim_pages(PhysAddr(at), array.order.into())?;
                for entries in part.as_ref().chunks(MAX_FRAMES * FolioEntry::SIZE) {
                    let room = entries.len() / FolioEntry::SIZE;
                    let count = left.min(room as u64) as usize;
                    let (entries, behind) = entries
                        .split_at_checked(count * FolioEntry::SIZE)
                        .unwrap_or_default();
                    // What follows the empty entry is not part of the array. A number that is too
                    // small would lose content in silence.
                    if count < room && !FolioEntry::load(behind).is_empty() {
                        return Err(Refusal::ArrayLength(self.nr_folios(), self.nr_folios() + 1));
                    }
                    if count == 0 {
                        break;
                    }
                    // A small file shall not pay for room that it does not need.
                    if count <= FEW {
                        claim_entries::<_, FEW>(memory, &mut in_order, entries, &mut visit)?;
                    } else {
                        claim_entries::<_, MAX_FRAMES>(memory, &mut in_order, entries, &mut visit)?;
                    }
                    left -= count as u64;
                    if count < room {
                        break;
                    }
                }
            }
            next = vmalloc::next(list.as_ref());
        }
        if left > 0 {
            return Err(Refusal::ArrayLength(
                self.nr_folios(),
                self.nr_folios() - left,
            ));
        }
        Ok(())
    }
}

/// As many folios as a small file has.
const FEW: usize = 2;

/// Folios that follow each other in a file, without a hole between them, and have the same flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolioRun {
    /// Where the first begins in the file, in pages.
    pub(crate) index: u64,
    /// How many pages they have.
    pub(crate) pages: u64,
    /// `FOLIO_*`.
    pub(crate) flags: u64,
}

impl FolioRun {
    const EMPTY: Self = Self {
        index: 0,
        pages: 0,
        flags: 0,
    };
}

/// Claims the folios of up to `N` entries.
///
/// If one of them is wrong, those before it are claimed all the same.
// It is the loop over all pages of a file; among what calls it, registers would be short.
#[inline(never)]
fn claim_entries<M: ClaimMemory, const N: usize>(
    memory: &M,
    in_order: &mut FolioOrder,
    entries: &[u8],
    visit: &mut impl FnMut(M::Folios<'_>, &FolioRun),
) -> Result<(), Refusal> {
    let entries = || entries.chunks_exact(FolioEntry::SIZE).map(FolioEntry::load);
    let mut frames = [0; N];
    let mut orders = [NO_ORDER; N];
    let count = Iterator::zip(frames.iter_mut(), entries())
        .map(|(frame, entry)| *frame = entry.pfn())
        .count();
    let frames = frames.get(..count).unwrap_or_default();
    memory.orders(frames, orders.get_mut(..count).unwrap_or_default());

    let mut claim = |which: Range<usize>, run: &FolioRun| {
        let frames = frames.get(which.clone()).unwrap_or_default();
        let orders = orders.get(which).unwrap_or_default();
        memory.claim_folios::<N>(frames, orders, |folios| visit(folios, run))
    };
    let mut run = FolioRun::EMPTY;
    let mut start = 0;
    for (i, (entry, order)) in Iterator::zip(entries(), &orders).enumerate() {
        if in_order.extend(&mut run, &entry, *order) {
            continue;
        }
        if run.pages > 0 {
            claim(start..i, &run)?;
        }
        run = in_order.begin(&entry, *order)?;
        start = i;
    }
    claim(start..count, &run)
}

/// Checks that folios follow each other in the file.
#[derive(Debug)]
pub(crate) struct FolioOrder {
    next: u64,
    pages: u64,
    max_order: u32,
}

impl FolioOrder {
    /// For a file of `pages` pages, in folios of up to `1 << max_order` pages.
    pub(crate) fn new(pages: u64, max_order: u32) -> Self {
        Self {
            next: 0,
            pages,
            max_order,
        }
    }

    /// Whether the folio, of this order, goes on where `run` ends. It is part of it then.
    #[inline]
    fn extend(&mut self, run: &mut FolioRun, entry: &FolioEntry, order: u8) -> bool {
        let nr = 1u64 << (order & 63);
        let goes_on = run.pages > 0
            && entry.index == self.next
            && entry.flags() == run.flags
            && u32::from(order) <= self.max_order
            && entry.index < self.pages
            && entry.index & (nr - 1) == 0;
        if goes_on {
            run.pages += nr;
            self.next = entry.index.saturating_add(nr);
        }
        goes_on
    }

    /// Begins a run with the next folio, of this order if it is not [`NO_ORDER`].
    pub(crate) fn begin(&mut self, entry: &FolioEntry, order: u8) -> Result<FolioRun, Refusal> {
        if u32::from(order) > self.max_order {
            return Err(match order {
                NO_ORDER => Refusal::Address(entry.addr()),
                _ => Refusal::FolioOrder(order.into()),
            });
        }
        let nr = 1u64 << (order & 63);
        let index = entry.index;
        if index < self.next || index >= self.pages || index & (nr - 1) != 0 {
            return Err(Refusal::FolioIndex(index));
        }
        if entry.flags() & !(FOLIO_DIRTY | FOLIO_UPTODATE) != 0 {
            return Err(Refusal::Flags(entry.flags()));
        }
        self.next = index.saturating_add(nr);
        Ok(FolioRun {
            index,
            pages: nr,
            flags: entry.flags(),
        })
    }
}
