// SPDX-License-Identifier: GPL-2.0-only

//! Folios of a file that are pinned.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use core::{
    mem::MaybeUninit,
    ptr::null_mut, //
};

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    bindings,
    kho::Kho, //
};
use crate::abi::units::PageIndex;

/// How many folios are preserved at a time: as many as are described on the stack.
pub(super) const MAX_PRESERVED: usize = 64;

/// Changes whenever the kernel finds memory to be broken.
pub(crate) fn memory_failures() -> u64 {
    // SAFETY: It can be called in any context.
    unsafe { bindings::lu_memory_failures() as u64 }
}

/// Changes whenever the kernel has written a page to the swap area.
pub(crate) fn swap_writes() -> u64 {
    // SAFETY: It can be called in any context.
    unsafe { bindings::lu_swap_writes() as u64 }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct FolioPtr(*mut bindings::folio);

/// Space for the folios that are pinned at a time.
pub(crate) struct PinBatch(KVec<FolioPtr>);

impl PinBatch {
    /// How many folios are pinned at a time: pointers to them fill a page.
    pub(super) const MAX: usize = 512;

    /// Allocates space for a file of this size. A small file does not pay for a large one.
    pub(crate) fn new(end: PageIndex) -> Result<Self> {
        let len = end.0.min(Self::MAX as u64) as usize;
        Ok(Self(KVec::from_elem(
            FolioPtr(null_mut()),
            len,
            GFP_KERNEL,
        )?))
    }

    /// Pins the folios of a file from byte `start` to byte `last`, as many as there is space for.
    /// Errors as `lu_pin_folios()`.
    ///
    /// # Safety
    ///
    /// `file` is an open file of shmem that is frozen.
    pub(super) unsafe fn pin(
        &mut self,
        file: *mut bindings::file,
        start: i64,
        last: i64,
    ) -> Result<PinnedFolios<'_>> {
        let (folios, max) = (self.0.as_mut_ptr().cast(), self.0.len() as u32);
        // SAFETY: By the requirement of this function the file is frozen; a range that is not within
        // it is an error. There is space for `max` pointers at `folios`.
        let pinned = unsafe { bindings::lu_pin_folios(file, start, last, folios, max) };
        let pinned =
            usize::try_from(pinned).map_err(|_| Error::from_errno(pinned as kernel::ffi::c_int))?;
        // INVARIANT: The first `pinned` folios were pinned, and the pins are ours.
        let folios = self.0.get_mut(..pinned).ok_or(EFAULT)?;
        Ok(PinnedFolios { folios })
    }
}

/// Folios of a file that cannot be moved or reclaimed, in the order of their indexes, without a hole
/// between them. Dropping them unpins them.
///
/// # Invariants
///
/// Each of `folios` is one of shmem, and we own a pin of it.
pub(crate) struct PinnedFolios<'a> {
    folios: &'a mut [FolioPtr],
}

impl PinnedFolios<'_> {
    /// How many folios are left.
    pub(super) fn len(&self) -> usize {
        self.folios.len()
    }

    /// The page of the file where the first folio begins.
    pub(super) fn start(&self) -> Option<PageIndex> {
        let FolioPtr(folio) = *self.folios.first()?;
        // SAFETY: By the type invariant we have pinned the folio.
        Some(PageIndex(unsafe { bindings::lu_folio_start(folio) } as u64))
    }

    /// The page of the file after the last folio.
    pub(super) fn end(&self) -> Option<PageIndex> {
        let FolioPtr(folio) = *self.folios.last()?;
        // SAFETY: By the type invariant we have pinned the folio.
        Some(PageIndex(unsafe { bindings::lu_folio_end(folio) } as u64))
    }

    /// Preserves the first folios, at most `max` and at most [`MAX_PRESERVED`], and describes them
    /// in `frames`. The caller owns their pins and has to unpreserve them from then on.
    ///
    /// If there is an error too, fewer folios are preserved: `ENOMEM`, or `EINVAL` for a folio in
    /// KHO's scratch area on a kernel that checks.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(super) fn preserve<'f>(
        &mut self,
        _kho: Kho,
        max: usize,
        frames: &'f mut [MaybeUninit<bindings::lu_frame>; MAX_PRESERVED],
    ) -> (Preserved<'f>, Result) {
        let count = max.min(self.len()).min(MAX_PRESERVED);
        let (mut pages, mut err) = (0, 0);
        // SAFETY: `_kho` proves that KHO is on.
        // By the type invariant the folios are those of a file of shmem, and pinned. There
        // are `count` pointers to them, and space for as many frames. `pages` and `err` can be
        // written.
        let done = unsafe {
            bindings::lu_preserve_folios(
                self.folios.as_mut_ptr().cast(),
                count as u32,
                frames.as_mut_ptr().cast(),
                &mut pages,
                &mut err,
            )
        } as usize;
        let folios = core::mem::take(&mut self.folios);
        // INVARIANT: The pins of those that were preserved belong to the caller.
        self.folios = folios.get_mut(done..).unwrap_or_default();
        // SAFETY: The first `done` frames were written.
        let frames = unsafe { core::slice::from_raw_parts(frames.as_ptr().cast(), done) };
        let pages = pages as u64;
        (Preserved { frames, pages }, to_result(err))
    }
}

/// What [`PinnedFolios::preserve`] preserved.
pub(super) struct Preserved<'a> {
    /// The folios, in the order of their indexes.
    pub(super) frames: &'a [bindings::lu_frame],
    /// How many pages they have.
    pub(super) pages: u64,
}

impl Drop for PinnedFolios<'_> {
    fn drop(&mut self) {
        if !self.folios.is_empty() {
            // SAFETY: By the type invariant we own a pin of each of that many folios.
            unsafe { bindings::unpin_folios(self.folios.as_mut_ptr().cast(), self.len()) };
        }
    }
}
