// SPDX-License-Identifier: GPL-2.0-only

//! The folios of a file that are preserved, with the array that describes them.
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use core::mem::MaybeUninit;

use kernel::prelude::*;

use super::{
    bindings,
    kho::{
        Charge,
        Kho,
        PreservedPage, //
    },
    pinned::{
        PinnedFolios,
        MAX_PRESERVED, //
    }, //
};
use crate::abi::{
    array::{
        ArrayWriter,
        PageList, //
    },
    memfd::{
        FolioEntry,
        FOLIO_DIRTY,
        FOLIO_UPTODATE, //
    },
    units::{
        PageIndex,
        Pfn, //
    },
    vmalloc::Descriptor,
    PhysAddr,
    Record, //
};

/// Pages for the next kernel that are charged to the current task.
struct PreservedPages {
    kho: Kho,
    pages: KVVec<PreservedPage>,
}

impl PreservedPages {
    fn new(kho: Kho) -> Self {
        Self {
            kho,
            pages: KVVec::new(),
        }
    }
}

impl PageList for PreservedPages {
    type Error = Error;

    fn empty(&self) -> Self {
        Self::new(self.kho)
    }

    fn grow(&mut self) -> Result {
        let page = PreservedPage::new(self.kho, Charge::Caller)?;
        Ok(self.pages.push(page, GFP_KERNEL)?)
    }

    fn len(&self) -> usize {
        self.pages.len()
    }

    fn addr(&self, nr: usize) -> PhysAddr {
        self.pages.get(nr).map_or(PhysAddr(0), PreservedPage::addr)
    }

    fn bytes(&self, nr: usize) -> &[u8] {
        let page = self.pages.get(nr);
        page.map_or(&[], |page| page.bytes().as_slice())
    }

    fn bytes_mut(&mut self, nr: usize) -> &mut [u8] {
        let page = self.pages.get_mut(nr);
        page.map_or(&mut [], |page| page.bytes_mut().as_mut_slice())
    }
}

/// The folios of a file that the next kernel will get. Dropping it unpreserves and unpins them.
///
/// The array is both what the next kernel reads and the list of what to undo.
///
/// # Invariants
///
/// Each entry of `array` is that of a folio that is preserved, and we own a pin of that folio for
/// each entry.
pub(crate) struct PreservedFolios {
    kho: Kho,
    array: ArrayWriter<PreservedPages>,
    pages: u64,
}

impl PreservedFolios {
    /// No folios.
    pub(crate) fn new(kho: Kho) -> Self {
        let list = PreservedPages::new(kho);
        // INVARIANT: There are no entries.
        Self {
            kho,
            array: ArrayWriter::new(list.empty(), list),
            pages: 0,
        }
    }

    /// How many folios there are.
    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }

    /// How many pages the folios have.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Ends the array, and describes it for the next kernel; `None` if there are no folios.
    pub(crate) fn descriptor(&mut self) -> Option<Descriptor> {
        self.array.descriptor()
    }

    /// Preserves folios that come after all others in the file, and adds them. Returns the number
    /// of their pages. After an error, those that were not added are unpinned.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn extend(&mut self, mut folios: PinnedFolios<'_>) -> Result<u64> {
        let before = self.pages;
        let mut frames = [const { MaybeUninit::uninit() }; MAX_PRESERVED];
        while folios.len() > 0 {
            let capacity = self.array.reserve()?;
            let (preserved, result) = folios.preserve(self.kho, capacity, &mut frames);
            // INVARIANT: The folios are preserved and pinned, and the pins are ours now.
            self.pages += preserved.pages;
            self.array.append(preserved.frames.iter().map(|frame| {
                let flags = FOLIO_DIRTY | FOLIO_UPTODATE;
                FolioEntry::new(Pfn(frame.pfn), flags, PageIndex(frame.index))
            }));
            result?;
        }
        Ok(self.pages - before)
    }

    /// Where each folio begins in the file, and how many pages it has.
    pub(crate) fn places(&self) -> impl Iterator<Item = (PageIndex, u64)> + '_ {
        self.array.entries().map(|entry| {
            // SAFETY: By the type invariant it is the frame of a folio that is pinned.
            let pages = unsafe { bindings::lu_pfn_nr_pages(entry.pfn().0 as usize) };
            (entry.index, pages as u64)
        })
    }

    /// Whether the memory of one of the folios is known to be broken.
    pub(crate) fn any_poisoned(&self) -> bool {
        self.array.entries().any(|entry| {
            // SAFETY: By the type invariant it is the frame of a folio that is pinned.
            unsafe { bindings::lu_pfn_poisoned(entry.pfn().0 as usize) }
        })
    }

    /// Takes the folios of `other` over, each to its place in the file. `ENOMEM`; then `other` is
    /// unpreserved, and these folios are as before.
    pub(crate) fn merge(&mut self, mut other: PreservedFolios) -> Result {
        let both = self.array.merged(&other.array)?;
        // INVARIANT: The new array has the entries of both, and owns what they owned; the others
        // have no entries any more.
        self.array = both;
        self.pages += other.pages;
        other.array = other.array.emptied();
        Ok(())
    }
}

impl Drop for PreservedFolios {
    fn drop(&mut self) {
        let mut pfns = [const { MaybeUninit::uninit() }; MAX_PRESERVED];
        let batches = self
            .array
            .filled()
            .flat_map(|entries| entries.chunks(MAX_PRESERVED * FolioEntry::SIZE));
        for batch in batches {
            let mut count = 0;
            for (pfn, entry) in Iterator::zip(pfns.iter_mut(), batch.chunks_exact(FolioEntry::SIZE))
            {
                pfn.write(FolioEntry::load(entry).pfn().0);
                count += 1;
            }
            // SAFETY: The first `count` were written. By the type invariant they are frames of
            // folios that are preserved, of each of which we own a pin for each entry; nothing uses
            // them afterwards.
            unsafe { bindings::lu_unpreserve_folios(pfns.as_ptr().cast(), count) };
        }
    }
}
