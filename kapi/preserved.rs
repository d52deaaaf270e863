// SPDX-License-Identifier: GPL-2.0-only

//! The folios of a file that are preserved, with the array that describes them.
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use core::{
    mem::MaybeUninit,
    ops::Range, //
};

use kernel::prelude::*;

use super::{
    bindings,
    gaps::Gaps,
    kho::{
        Charge,
        Kho,
        PreservedPage, //
    },
    pinned::{
        PinBatch,
        PinnedFolios,
        Preserved,
        MAX_PRESERVED, //
    },
    shmem::Frozen, //
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
    pieces::{
        FolioPieces,
        Pieces, //
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

    fn count_in(&self, pieces: &mut Pieces) {
        for page in self.pages.iter() {
            page.count_in(pieces);
        }
    }
}

impl PageList for PreservedPages {
    type Error = Error;

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
    /// Where the last folio in the file ends.
    end: PageIndex,
    gaps: Gaps,
    /// Those of the folios.
    pieces: Pieces,
}

impl PreservedFolios {
    /// No folios, of a file that ends at `end`. `EFBIG` for more than 2^32-1 pages.
    pub(crate) fn new(kho: Kho, end: PageIndex) -> Result<Self> {
        // INVARIANT: There are no entries.
        Ok(Self {
            kho,
            array: ArrayWriter::new(PreservedPages::new(kho), PreservedPages::new(kho)),
            pages: 0,
            end: PageIndex::START,
            gaps: Gaps::whole(end)?,
            pieces: Pieces::default(),
        })
    }

    /// How many folios there are.
    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }

    /// How many pages the folios have.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// In how many pieces of memory the folios are.
    pub(crate) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The largest number of pieces that folios and array can be.
    pub(crate) fn most_pieces(&self) -> u64 {
        let (chunks, array_pages) = self.array.lists();
        self.pieces.count() + (chunks.len() + array_pages.len()) as u64
    }

    /// Adds the array to what is counted in `pieces`.
    pub(crate) fn count_array_in(&self, pieces: &mut Pieces) {
        let (chunks, array_pages) = self.array.lists();
        chunks.count_in(pieces);
        array_pages.count_in(pieces);
    }

    /// Where the last folio in the file ends: after the end of the file, if it reaches over that.
    pub(crate) fn end(&self) -> PageIndex {
        self.end
    }

    /// Whether the file had a hole when it was last looked at.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// Ends the array, and describes it for the next kernel; `None` if there are no folios.
    pub(crate) fn descriptor(&mut self) -> Option<Descriptor> {
        self.array.descriptor()
    }

    /// Pins and preserves all pages of `file` that are in gaps, first all pages of the file. `added`
    /// gets the number of pages of each batch.
    ///
    /// Errors as [`Frozen::pin_range`], and of `added`. After an error, folios that were added before
    /// it stay.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn fill_gaps(
        &mut self,
        file: &Frozen,
        mut added: impl FnMut(u64) -> Result,
    ) -> Result {
        let mut batch = PinBatch::new(file.end())?;
        for nr in (0..self.gaps.len()).rev() {
            let mut gap = self.gaps.get(nr);
            let result = file.pin_range(gap.clone(), &mut batch, |pinned| {
                added(self.extend(pinned, &mut gap)?)
            });
            self.gaps.set(nr, &gap);
            result?;
        }
        Ok(())
    }

    /// Preserves folios that are in `gap`, and adds them. `gap` becomes what is left of it after
    /// them; what is left before them is another gap. Returns the number of their pages. After an
    /// error, those that were not added are unpinned.
    fn extend(&mut self, mut folios: PinnedFolios<'_>, gap: &mut Range<PageIndex>) -> Result<u64> {
        let before = self.pages;
        let mut frames = [const { MaybeUninit::uninit() }; MAX_PRESERVED];
        if let Some(start) = folios.start().filter(|start| *start > gap.start) {
            self.gaps.add(&(gap.start..start))?;
            gap.start = start;
        }
        while folios.len() > 0 {
            let capacity = self.array.reserve()?;
            let (preserved, result) = folios.preserve(self.kho, capacity, &mut frames);
            // INVARIANT: The folios are preserved and pinned, and the pins are ours now.
            self.pages += preserved.pages;
            // There is no hole between folios that were pinned together.
            let end = gap.start.after(preserved.pages);
            self.append(&preserved, end);
            gap.start = end.min(gap.end);
            self.end = self.end.max(end);
            result?;
        }
        Ok(self.pages - before)
    }

    /// Adds entries for folios, of which the last ends before page `end`, and counts their pieces.
    #[inline]
    fn append(&mut self, preserved: &Preserved<'_>, end: PageIndex) {
        let Some(first) = preserved.frames.first() else {
            return;
        };
        let mut pieces = FolioPieces::new(self.pieces, Pfn(first.pfn), PageIndex(first.index));
        self.array.append(preserved.frames.iter().map(|frame| {
            let (pfn, index) = (Pfn(frame.pfn), PageIndex(frame.index));
            pieces.next(pfn, index);
            FolioEntry::new(pfn, FOLIO_DIRTY | FOLIO_UPTODATE, index)
        }));
        self.pieces = pieces.finish(end);
    }

    /// Whether the memory of one of the folios is known to be broken.
    #[cold]
    pub(crate) fn any_poisoned(&self) -> bool {
        self.array.entries().any(|entry| {
            // SAFETY: By the type invariant it is the frame of a folio that is pinned.
            unsafe { bindings::lu_pfn_poisoned(entry.pfn().0 as usize) }
        })
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
