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
    units::Order,
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

    /// Claims the array and the folios that it names, in the order of the array, and passes them to
    /// `visit` in runs. Runs may overlap in the file.
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

/// A walk along the array of a file. It claims array pages in order, one for each slice.
pub(crate) struct Walk<'a, M: ClaimMemory> {
    memory: &'a M,
    /// As the header says.
    nr_folios: u64,
    placement: Placement,
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
    /// What is wrong with the descriptor, until that is reported.
    damage: Option<Damage>,
    /// The number of slices that were returned.
    returned: usize,
}

impl<'a, M: ClaimMemory> Walk<'a, M> {
    fn new(memfd: &Memfd, memory: &'a M) -> Self {
        let array = memfd.array();
        let mut walk = Self {
            memory,
            nr_folios: memfd.nr_folios(),
            placement: Placement::new(memfd.end(), memory.max_folio_order()),
            order: Order::PAGE,
            pages_left: 0,
            chunks_left: 0,
            entries_left: 0,
            chunk: None,
            slot: 0,
            next_chunk: PhysAddr(0),
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
                    walk.entries_left = walk.nr_folios;
                    walk.next_chunk = PhysAddr(array.first);
                }
                Err(damage) => walk.damage = Some(damage),
            }
        }
        walk
    }

    /// The next slice of the array; `None` after the last, and after an error.
    pub(crate) fn next_slice(&mut self) -> Result<Option<FileSlice<M::Pages>>, Damage> {
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        let slice = self.claim_array_page();
        if slice.is_err() {
            // Nothing is left then.
            (self.chunk, self.next_chunk, self.entries_left) = (None, PhysAddr(0), 0);
        }
        slice
    }

    /// The number of slices that were returned.
    pub(crate) fn returned(&self) -> usize {
        self.returned
    }

    /// Claims the next array page; `None` after the last.
    fn claim_array_page(&mut self) -> Result<Option<FileSlice<M::Pages>>, Damage> {
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
        self.returned += 1;
        Ok(Some(FileSlice {
            nr: self.returned,
            pages,
            count,
            placement: self.placement,
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

/// The entries of one array page. The array page was claimed, its folios were not.
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
        self,
        memory: &M,
        mut visit: impl FnMut(M::Folios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let entries = self.pages.as_ref().get(..self.count * FolioEntry::SIZE);
        let entries = entries.unwrap_or_default();
        claim_entries(memory, &self.placement, entries, &mut visit)
    }
}
