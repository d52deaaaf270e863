// SPDX-License-Identifier: GPL-2.0-only

//! Reads the folio array of a memfd, array page by array page. See [the picture](super).

use super::{
    found::claim_entries,
    FolioRun,
    Placement, //
};
use crate::abi::{
    memfd::{
        FolioEntry,
        Memfd, //
    },
    units::{
        Order,
        PageIndex, //
    },
    vmalloc,
    ClaimMemory,
    Damage,
    PhysAddr,
    Record, //
};

impl Memfd {
    /// Begins to claim the array of the file.
    pub(crate) fn walk<'a, M: ClaimMemory>(&self, memory: &'a M) -> Walk<'a, M> {
        Walk::new(self, memory)
    }

    /// The number of array pages. [`Walk::next_slice`] returns at most that many slices.
    pub(crate) fn array_pages(&self) -> usize {
        self.array().check().map_or(0, |area| area.pages)
    }

    /// Claims the array and the folios that it names, in order, and passes them to `visit` in runs.
    ///
    /// Stops at the first value that is damaged. What comes after it stays handed over.
    pub(crate) fn for_each_run<M: ClaimMemory>(
        &self,
        memory: &M,
        mut visit: impl FnMut(M::Folios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let mut walk = self.walk(memory);
        while let Some(slice) = walk.next_slice()? {
            slice.for_each_run(memory, &mut visit)?;
        }
        Ok(())
    }
}

/// A walk along the array of a file. It claims array pages in order, one ahead of the slices that it
/// has returned, because a slice of the file ends where the next one begins.
pub(crate) struct Walk<'a, M: ClaimMemory> {
    memory: &'a M,
    /// As the header says.
    nr_folios: u64,
    /// Where the file ends.
    end: PageIndex,
    max_order: Order,
    /// Of an array page.
    order: Order,
    pages_left: usize,
    chunks_left: usize,
    /// Entries after those of the array pages that were claimed.
    entries_left: u64,
    /// The chunk that is being read, and the position in it.
    chunk: Option<M::Pages>,
    slot: usize,
    next_chunk: PhysAddr,
    /// The array page that was claimed and not returned yet, and the damage after it.
    ahead: Option<ArrayPage<M::Pages>>,
    damage: Option<Damage>,
    /// The number of slices that were returned.
    returned: usize,
}

/// An array page that was claimed.
struct ArrayPage<P> {
    pages: P,
    /// How many entries it has.
    count: usize,
    /// Where its first folio claims to begin in the file.
    first: PageIndex,
}

impl<'a, M: ClaimMemory> Walk<'a, M> {
    fn new(memfd: &Memfd, memory: &'a M) -> Self {
        let array = memfd.array();
        let mut walk = Self {
            memory,
            nr_folios: memfd.nr_folios(),
            end: memfd.end(),
            max_order: memory.max_folio_order(),
            order: Order::PAGE,
            pages_left: 0,
            chunks_left: 0,
            entries_left: memfd.nr_folios(),
            chunk: None,
            slot: 0,
            next_chunk: PhysAddr(array.first),
            ahead: None,
            damage: None,
            returned: 0,
        };
        // There is no array for no folios.
        if walk.nr_folios > 0 {
            match array.check() {
                Ok(area) => {
                    walk.order = area.order;
                    walk.pages_left = area.pages;
                    walk.chunks_left = vmalloc::max_chunks(area.pages);
                    walk.look_ahead(None);
                }
                Err(damage) => walk.damage = Some(damage),
            }
        }
        walk
    }

    /// The next slice of the file; `None` after the last, and after an error.
    ///
    /// Damage is reported after all slices before it were returned.
    pub(crate) fn next_slice(&mut self) -> Result<Option<FileSlice<M::Pages>>, Damage> {
        let Some(page) = self.ahead.take() else {
            return self.damage.take().map_or(Ok(None), Err);
        };
        self.look_ahead(Some(page.first));
        let placement = match &self.ahead {
            Some(next) => Placement::within(page.first..next.first, self.max_order),
            None => Placement::to_the_end(page.first..self.end, self.max_order),
        };
        self.returned += 1;
        Ok(Some(FileSlice {
            nr: self.returned,
            pages: page.pages,
            count: page.count,
            placement,
        }))
    }

    /// Claims the next array page, whose first folio must begin after `before` and in the file.
    fn look_ahead(&mut self, before: Option<PageIndex>) {
        match self.claim_array_page() {
            Ok(Some(next)) if before.is_some_and(|b| next.first <= b || next.first >= self.end) => {
                self.damage = Some(Damage::FolioIndex {
                    index: next.first.0,
                });
            }
            Ok(next) => self.ahead = next,
            Err(damage) => self.damage = Some(damage),
        }
    }

    /// The number of slices that were returned.
    pub(crate) fn returned(&self) -> usize {
        self.returned
    }

    /// Claims the next array page; `None` after the last.
    fn claim_array_page(&mut self) -> Result<Option<ArrayPage<M::Pages>>, Damage> {
        let Some(at) = self.next_address()? else {
            if self.entries_left > 0 {
                return Err(Damage::ArrayLength {
                    entries: self.nr_folios,
                    capacity: self.nr_folios - self.entries_left,
                });
            }
            return Ok(None);
        };
        self.pages_left = self.pages_left.checked_sub(1).ok_or(Damage::ArrayForm)?;
        let pages = self.memory.claim_pages(at, self.order)?;
        let entries = pages.as_ref();
        let capacity = entries.len() / FolioEntry::SIZE;
        let count = self.entries_left.min(capacity as u64) as usize;
        // A number of folios that is too small would lose content silently. What follows the empty
        // entry is not part of the array.
        let end = entries.get(count * FolioEntry::SIZE..).unwrap_or_default();
        if count < capacity && !FolioEntry::load(end).is_empty() {
            return Err(Damage::ArrayLength {
                entries: self.nr_folios,
                capacity: self.nr_folios + 1,
            });
        }
        self.entries_left -= count as u64;
        Ok(Some(ArrayPage {
            first: FolioEntry::load(entries).index,
            pages,
            count,
        }))
    }

    /// Where the next array page is. Chunks are claimed when they are needed, and freed when they
    /// have been read.
    fn next_address(&mut self) -> Result<Option<PhysAddr>, Damage> {
        loop {
            if let Some(chunk) = &self.chunk {
                let at = vmalloc::page(chunk.as_ref(), self.slot);
                if !at.is_null() {
                    self.slot += 1;
                    return Ok(Some(at));
                }
                self.next_chunk = vmalloc::next(chunk.as_ref());
                self.chunk = None;
            }
            if self.next_chunk.is_null() {
                return Ok(None);
            }
            self.chunks_left = self.chunks_left.checked_sub(1).ok_or(Damage::ArrayForm)?;
            self.chunk = Some(self.memory.claim_pages(self.next_chunk, Order::PAGE)?);
            self.slot = 0;
        }
    }
}

/// The part of a file that one array page describes. The array page was claimed, its folios were
/// not: they must lie where the slices before and after have none, whatever those name.
pub(crate) struct FileSlice<P> {
    /// Its number, from 1.
    pub(crate) nr: usize,
    pages: P,
    count: usize,
    placement: Placement,
}

impl<P: AsRef<[u8]>> FileSlice<P> {
    /// Claims the folios, in order, passes them to `visit` in runs, and frees the array page.
    ///
    /// Stops at the first entry that is damaged. What comes after it stays handed over.
    pub(crate) fn for_each_run<M: ClaimMemory<Pages = P>>(
        mut self,
        memory: &M,
        mut visit: impl FnMut(M::Folios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let entries = self.pages.as_ref().get(..self.count * FolioEntry::SIZE);
        let entries = entries.unwrap_or_default();
        claim_entries(memory, &mut self.placement, entries, &mut visit)
    }
}
