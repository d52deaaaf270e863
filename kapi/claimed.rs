// SPDX-License-Identifier: GPL-2.0-only

//! Memory that was handed over and claimed: the types that own and free it.

use core::{
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::NonNull, //
};

use super::bindings;
use crate::abi::{
    array::MAX_RUN,
    units::Order,
    PAGE_SIZE, //
};

/// Adjacent pages that were claimed. Dropping them frees them.
///
/// # Invariants
///
/// `start` is the address, in the linear mapping, of `order.pages()` adjacent single pages. We own
/// the only reference to each.
pub(crate) struct ClaimedPages {
    start: NonNull<u8>,
    order: Order,
}

// SAFETY: By the type invariant only we use the pages. They are not bound to a thread.
unsafe impl Send for ClaimedPages {}
// SAFETY: A shared reference only allows to read.
unsafe impl Sync for ClaimedPages {}

impl ClaimedPages {
    /// Takes over the pages at `start`.
    ///
    /// # Safety
    ///
    /// - `start` is the address, in the linear mapping, of `order.pages()` adjacent single pages.
    /// - The caller owns the only reference to each, and gives it up.
    pub(super) unsafe fn from_raw(start: NonNull<u8>, order: Order) -> Self {
        // INVARIANT: By the requirements of this function.
        Self { start, order }
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.order.pages() as usize * PAGE_SIZE;
        // SAFETY: By the type invariant `start` is that of `len` bytes that are mapped. They are
        // initialized, because they are memory that the previous kernel has written, and nobody
        // else writes to them as long as we own the pages.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), len) }
    }

    /// Passes the pages on as folios of one page, in order, at most [`MAX_RUN`] at a time.
    pub(super) fn into_folios(self, mut visit: impl FnMut(ClaimedFolios<'_>)) {
        let mut folios = [const { MaybeUninit::<*mut bindings::folio>::uninit() }; MAX_RUN];
        let pages = self.order.pages() as usize;
        let start = ManuallyDrop::new(self).start;
        for first in (0..pages).step_by(MAX_RUN) {
            let count = MAX_RUN.min(pages - first);
            for (nr, slot) in folios.iter_mut().take(count).enumerate() {
                // SAFETY: By the type invariant this is the address of a page that is restored.
                slot.write(unsafe {
                    bindings::lu_virt_to_folio(start.as_ptr().add((first + nr) * PAGE_SIZE).cast())
                });
            }
            // SAFETY: The first `count` were written.
            let folios =
                unsafe { core::slice::from_raw_parts_mut(folios.as_mut_ptr().cast(), count) };
            // SAFETY: By the type invariant we own the only reference to each page, and each is a
            // folio of its own. `self` was given up, so nobody else frees them.
            visit(unsafe { ClaimedFolios::from_raw(folios, Order::PAGE) });
        }
    }
}

impl AsRef<[u8]> for ClaimedPages {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for ClaimedPages {
    fn drop(&mut self) {
        for nr in 0..self.order.pages() as usize {
            // SAFETY: By the type invariant this is the address of a single page, of which we own
            // the last reference; nothing uses it afterwards.
            unsafe { bindings::lu_free_page(self.start.as_ptr().add(nr * PAGE_SIZE).cast()) };
        }
    }
}

/// Folios of one order that were claimed. Dropping them frees them.
///
/// # Invariants
///
/// Each of `folios` is valid and of `order`. We own the only reference to it, and nobody else knows
/// it.
pub(crate) struct ClaimedFolios<'a> {
    folios: &'a mut [*mut bindings::folio],
    order: Order,
}

impl<'a> ClaimedFolios<'a> {
    /// Takes over `folios`.
    ///
    /// # Safety
    ///
    /// - Each of `folios` is valid, and of `order`.
    /// - The caller owns the only reference to it, nobody else knows it, and the caller gives it up.
    pub(super) unsafe fn from_raw(folios: &'a mut [*mut bindings::folio], order: Order) -> Self {
        // INVARIANT: By the requirements of this function.
        Self { folios, order }
    }

    /// How many folios there are.
    pub(super) fn len(&self) -> usize {
        self.folios.len()
    }

    /// The order of each.
    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// The first of [`ClaimedFolios::len`] folios.
    pub(super) fn as_mut_ptr(&mut self) -> *mut *mut bindings::folio {
        self.folios.as_mut_ptr()
    }

    /// Frees all but the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        let folios = core::mem::take(&mut self.folios);
        let (kept, freed) = folios.split_at_mut(count.min(folios.len()));
        self.folios = kept;
        // INVARIANT: Each of them belongs to one of the two values.
        drop(Self {
            folios: freed,
            order: self.order,
        });
    }

    /// Gives the first `count` away.
    ///
    /// # Safety
    ///
    /// The references to those belong to another owner now.
    pub(super) unsafe fn forget(&mut self, count: usize) {
        let folios = core::mem::take(&mut self.folios);
        // INVARIANT: By the requirement of this function, we own those that are left.
        self.folios = folios.get_mut(count..).unwrap_or_default();
    }
}

impl Drop for ClaimedFolios<'_> {
    fn drop(&mut self) {
        if !self.folios.is_empty() {
            // SAFETY: By the type invariant we own a reference to each; nothing uses them afterwards.
            unsafe { bindings::lu_release_folios(self.as_mut_ptr(), self.len() as u32) };
        }
    }
}
