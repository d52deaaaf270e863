// SPDX-License-Identifier: GPL-2.0-only

//! Folios: pinned ones on their way out, and claimed ones on their way in.

use kernel::prelude::*;

use super::{
    bindings,
    kho::{
        Charge,
        Kho,
        PreservedPage, //
    },
    shmem::PinnedFolios, //
};
use crate::abi::{
    memfd::FolioEntry,
    vmalloc,
    Record,
    PAGE_SIZE, //
};

/// How many entries a page of the array holds.
const ENTRIES_PER_PAGE: usize = PAGE_SIZE / FolioEntry::SIZE;

/// Changes whenever memory is found to be bad.
pub(crate) fn memory_failures() -> u64 {
    // SAFETY: It may be called at any time.
    unsafe { bindings::lu_memory_failures() as u64 }
}

/// The folios of a file that the next kernel will get, in the form in which it will read about
/// them. Dropping it takes them back and unpins them.
///
/// The next kernel takes the array for an area of vmalloc memory. It never was one: pages are
/// added as they are needed, and found through the same list that describes them to the next
/// kernel.
///
/// # Invariants
///
/// The first `len` entries in `pages` are those of folios that are preserved and whose pin we own.
/// All pages but the last are full, and all are listed in `lists`, in order.
pub(crate) struct FolioArray {
    kho: Kho,
    lists: KVVec<PreservedPage>,
    pages: KVVec<PreservedPage>,
    len: usize,
    total: u64,
}

impl FolioArray {
    /// An empty array.
    pub(crate) fn new(kho: Kho) -> Self {
        Self {
            kho,
            lists: KVVec::new(),
            pages: KVVec::new(),
            len: 0,
            total: 0,
        }
    }

    /// How many folios there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many pages the folios have.
    pub(crate) fn pages(&self) -> u64 {
        self.total
    }

    /// Ends the array, and tells where the next kernel finds it; `None` if it is empty.
    pub(crate) fn descriptor(&mut self) -> Option<vmalloc::Descriptor> {
        // The entry behind the last one is empty, as in an array that was cleared.
        let end = self.len % ENTRIES_PER_PAGE * FolioEntry::SIZE;
        if let Some(page) = self.pages.last_mut().filter(|_| end > 0) {
            FolioEntry::EMPTY.store(page.bytes_mut().get_mut(end..).unwrap_or_default());
        }
        Some(vmalloc::Descriptor {
            first: self.lists.first()?.addr().0,
            total_pages: self.pages.len() as u32,
            flags: vmalloc::FLAG_ALLOC,
            order: 0,
        })
    }

    /// Preserves folios and adds them. After an error, those that were not added are let go. May
    /// sleep. Gives the number of pages.
    pub(crate) fn extend(&mut self, mut folios: PinnedFolios<'_>) -> Result<u64> {
        let before = self.total;
        while folios.len() > 0 {
            if self.len == self.pages.len() * ENTRIES_PER_PAGE {
                self.grow()?;
            }
            let slot = self.len % ENTRIES_PER_PAGE;
            let page = self.pages.last_mut().ok_or(ENOMEM)?;
            let entries = page
                .bytes_mut()
                .get_mut(slot * FolioEntry::SIZE..)
                .unwrap_or_default();
            let (count, pages, result) = folios.preserve(ENTRIES_PER_PAGE, entries);
            // INVARIANT: The folios are preserved, and the pins came with them.
            self.len += count;
            self.total += pages;
            result?;
        }
        Ok(self.total - before)
    }

    /// Writes the next entry, for which there is room.
    fn write(&mut self, entry: &FolioEntry, nr_pages: u64) {
        if let Some(page) = self.pages.get_mut(self.len / ENTRIES_PER_PAGE) {
            let slot = self.len % ENTRIES_PER_PAGE;
            entry.store(
                page.bytes_mut()
                    .get_mut(slot * FolioEntry::SIZE..)
                    .unwrap_or_default(),
            );
            self.len += 1;
            self.total += nr_pages;
        }
    }

    /// The entries, in order, each with the number of its pages.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (FolioEntry, u64)> + '_ {
        self.pages
            .iter()
            .flat_map(|page| page.bytes().chunks_exact(FolioEntry::SIZE))
            .take(self.len)
            .map(|bytes| {
                let entry = FolioEntry::load(bytes);
                // SAFETY: By the type invariant it is that of a folio that is pinned.
                let nr_pages = unsafe { bindings::lu_pfn_nr_pages(entry.pfn() as usize) };
                (entry, nr_pages as u64)
            })
    }

    /// The pages of the array, each with the number of entries in it.
    fn filled(&self) -> impl Iterator<Item = (&PreservedPage, u32)> {
        let mut left = self.len;
        self.pages.iter().map(move |page| {
            let count = left.min(ENTRIES_PER_PAGE);
            left -= count;
            (page, count as u32)
        })
    }

    /// Whether the memory of one of the folios is known to be bad.
    pub(crate) fn any_poisoned(&self) -> bool {
        self.filled().any(|(page, count)| {
            // SAFETY: By the type invariant there are as many entries, of folios that are pinned.
            unsafe { bindings::lu_any_poisoned(page.bytes().as_ptr().cast(), count) }
        })
    }

    /// Puts the folios of `other` between these, where they belong. If there is no memory for
    /// that, those are given back, and these are as they were.
    pub(crate) fn merge(&mut self, mut other: FolioArray) -> Result {
        let mut both = FolioArray::new(self.kho);
        while both.pages.len() * ENTRIES_PER_PAGE < self.len + other.len {
            both.grow()?;
        }
        let mut ours = self.entries().peekable();
        let mut theirs = other.entries().peekable();
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some((a, _)), Some((b, _))) if b.index < a.index => theirs.next(),
                (Some(_), _) => ours.next(),
                (None, _) => theirs.next(),
            };
            let Some((entry, nr_pages)) = next else { break };
            both.write(&entry, nr_pages);
        }
        drop((ours, theirs));
        // INVARIANT: What both of them owned, the new one owns, and has entries of.
        self.len = 0;
        other.len = 0;
        *self = both;
        Ok(())
    }

    fn grow(&mut self) -> Result {
        let part = self.pages.len() % vmalloc::PARTS_PER_CHUNK;
        self.pages.reserve(1, GFP_KERNEL)?;
        let page = PreservedPage::new(self.kho, Charge::Caller)?;
        if part == 0 {
            self.lists.reserve(1, GFP_KERNEL)?;
            let mut list = PreservedPage::new(self.kho, Charge::Caller)?;
            vmalloc::set_next(list.bytes_mut(), 0);
            if let Some(last) = self.lists.last_mut() {
                vmalloc::set_next(last.bytes_mut(), list.addr().0);
            }
            self.lists.push(list, GFP_KERNEL)?;
        }
        if let Some(list) = self.lists.last_mut() {
            vmalloc::set_part(list.bytes_mut(), part, page.addr().0);
            // The list ends behind it.
            vmalloc::set_part(list.bytes_mut(), part + 1, 0);
        }
        self.pages.push(page, GFP_KERNEL)?;
        Ok(())
    }
}

impl Drop for FolioArray {
    fn drop(&mut self) {
        for (page, count) in self.filled() {
            // SAFETY: By the type invariant there are as many entries, the folios are preserved
            // and their pins are ours; both end here. Nobody else can have written to the page.
            unsafe { bindings::lu_unpreserve_pinned(page.bytes().as_ptr().cast(), count) };
        }
    }
}

/// Folios that were handed over and are ours now. Dropping them frees them.
///
/// # Invariants
///
/// We hold the only reference to each of `folios`.
pub(crate) struct ClaimedFolios<'a> {
    folios: &'a mut [*mut bindings::folio],
}

impl<'a> ClaimedFolios<'a> {
    /// Wraps `folios`.
    ///
    /// # Safety
    ///
    /// There must be one reference to each of `folios`, which becomes ours.
    pub(super) unsafe fn from_raw(folios: &'a mut [*mut bindings::folio]) -> Self {
        // INVARIANT: By the requirement of this function.
        Self { folios }
    }

    /// The folios, and how many there are.
    pub(super) fn as_raw(&mut self) -> (*mut *mut bindings::folio, u32) {
        (self.folios.as_mut_ptr(), self.folios.len() as u32)
    }

    /// Lets somebody else have the first `count`.
    ///
    /// # Safety
    ///
    /// The references to those must belong to somebody else.
    pub(super) unsafe fn give(&mut self, count: usize) {
        let folios = core::mem::take(&mut self.folios);
        // INVARIANT: By the requirement of this function, those that are left are ours.
        self.folios = folios.get_mut(count..).unwrap_or_default();
    }
}

impl Drop for ClaimedFolios<'_> {
    fn drop(&mut self) {
        if !self.folios.is_empty() {
            let (folios, count) = self.as_raw();
            // SAFETY: By the type invariant we own a reference to each.
            unsafe { bindings::lu_put_folios(folios, count) };
        }
    }
}
