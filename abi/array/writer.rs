// SPDX-License-Identifier: GPL-2.0-only

//! Writes the folio array for the next kernel. See [the picture](super).

use super::ENTRIES_PER_PAGE;
use crate::abi::{
    memfd::FolioEntry,
    vmalloc::{
        self,
        Descriptor,
        FLAG_ALLOC,
        PAGES_PER_CHUNK, //
    },
    PhysAddr,
    Record, //
};

/// Pages that will be handed over, in a list that grows.
pub(crate) trait PageList: Sized {
    /// Why there is no other page.
    type Error;

    /// Adds a page with any content.
    fn grow(&mut self) -> Result<(), Self::Error>;

    /// How many pages there are.
    fn len(&self) -> usize;

    /// Where the next kernel finds page `nr`; null if there is no such page.
    fn addr(&self, nr: usize) -> PhysAddr;

    /// The content of page `nr`; nothing if there is no such page.
    fn bytes(&self, nr: usize) -> &[u8];

    /// As [`PageList::bytes`], to be written.
    fn bytes_mut(&mut self, nr: usize) -> &mut [u8];
}

/// A folio array that is being written.
///
/// # Invariants
///
/// The first `len` entries are written. All array pages but the last are full. Each array page is
/// listed in a chunk, in order; each chunk is linked to the one before it.
pub(crate) struct ArrayWriter<L> {
    chunks: L,
    pages: L,
    len: usize,
}

impl<L: PageList> ArrayWriter<L> {
    /// An empty array, whose chunks and array pages go to these two empty lists.
    pub(crate) fn new(chunks: L, pages: L) -> Self {
        // INVARIANT: There are no entries and no pages.
        Self {
            chunks,
            pages,
            len: 0,
        }
    }

    /// How many entries are written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many entries can be appended until a page must be added.
    #[inline]
    fn free(&self) -> usize {
        self.pages.len() * ENTRIES_PER_PAGE - self.len
    }

    /// Reserves at least one entry, and returns how many can be appended. An error changes nothing.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Result<usize, L::Error> {
        if self.free() == 0 {
            self.grow()?;
        }
        Ok(self.free())
    }

    /// Adds an array page.
    fn grow(&mut self) -> Result<(), L::Error> {
        let nr = self.pages.len();
        let (chunk, slot) = (nr / PAGES_PER_CHUNK, nr % PAGES_PER_CHUNK);
        // INVARIANT: A new chunk is linked. It has no array page if the next step fails, and then
        // it is the one that the next attempt uses. A reader accepts one such chunk.
        if self.chunks.len() == chunk {
            self.chunks.grow()?;
            let bytes = self.chunks.bytes_mut(chunk);
            vmalloc::set_next(bytes, PhysAddr(0));
            vmalloc::set_page(bytes, 0, PhysAddr(0));
            if let Some(before) = chunk.checked_sub(1) {
                let at = self.chunks.addr(chunk);
                vmalloc::set_next(self.chunks.bytes_mut(before), at);
            }
        }
        self.pages.grow()?;
        // INVARIANT: The page is listed, and it is the last one.
        let bytes = self.chunks.bytes_mut(chunk);
        vmalloc::set_page(bytes, slot, self.pages.addr(nr));
        if slot + 1 < PAGES_PER_CHUNK {
            vmalloc::set_page(bytes, slot + 1, PhysAddr(0));
        }
        Ok(())
    }

    /// Writes `entries` after the last one; at most as many as there is room for in the last array
    /// page. They may also follow the end of an array that was described before.
    #[inline]
    pub(crate) fn append(&mut self, entries: impl ExactSizeIterator<Item = FolioEntry>) {
        debug_assert!(entries.len() <= self.free());
        let start = self.len % ENTRIES_PER_PAGE * FolioEntry::SIZE;
        let last = self.pages.len().saturating_sub(1);
        let free = self.pages.bytes_mut(last).get_mut(start..);
        let slots = free.unwrap_or_default().chunks_exact_mut(FolioEntry::SIZE);
        let mut count = 0;
        for (slot, entry) in Iterator::zip(slots, entries) {
            entry.store(slot);
            count += 1;
        }
        // INVARIANT: As many were written.
        self.len += count;
    }

    /// The encoded entries, array page by array page, in order.
    pub(crate) fn filled(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.pages.len()).map(|nr| {
            let count = (self.len - nr * ENTRIES_PER_PAGE).min(ENTRIES_PER_PAGE);
            let bytes = self.pages.bytes(nr).get(..count * FolioEntry::SIZE);
            bytes.unwrap_or_default()
        })
    }

    /// The entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = FolioEntry> + '_ {
        self.filled()
            .flat_map(|page| page.chunks_exact(FolioEntry::SIZE))
            .map(FolioEntry::load)
    }

    /// Ends the array, and describes it for the next kernel; `None` if it is empty. After more
    /// entries, it must be described again.
    pub(crate) fn descriptor(&mut self) -> Option<Descriptor> {
        if self.len == 0 {
            return None;
        }
        // As in an area that was cleared.
        let end = self.len % ENTRIES_PER_PAGE * FolioEntry::SIZE;
        let last = self.pages.len().saturating_sub(1);
        if let Some(slot) = self
            .pages
            .bytes_mut(last)
            .get_mut(end..)
            .filter(|_| end > 0)
        {
            FolioEntry::EMPTY.store(slot);
        }
        Some(Descriptor {
            first: self.chunks.addr(0).0,
            total_pages: self.pages.len() as u32,
            flags: FLAG_ALLOC,
            order: 0,
        })
    }

    /// The chunks and the array pages.
    pub(crate) fn lists(&self) -> (&L, &L) {
        (&self.chunks, &self.pages)
    }

    /// As [`ArrayWriter::lists`], to be owned.
    #[cfg(test)]
    pub(crate) fn into_lists(self) -> (L, L) {
        (self.chunks, self.pages)
    }
}
