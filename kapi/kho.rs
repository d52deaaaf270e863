// SPDX-License-Identifier: GPL-2.0-only

//! Kexec HandOver (KHO): pages that the next kernel will get.
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use core::ptr::NonNull;

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    str::CStr, //
};

use super::bindings;
use crate::abi::{
    pieces::Pieces,
    units::Pfn,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

/// A proof that KHO is on: this kernel was booted with `kho=on`, and KHO found memory to work with.
/// It is never turned off after boot. What KHO does while it is off is undefined for most of its
/// functions, so whatever calls them needs this.
#[derive(Clone, Copy)]
pub(crate) struct Kho(());

impl Kho {
    /// `None` if KHO is off.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: It reads a variable that does not change after boot.
        unsafe { bindings::kho_is_enabled() }.then_some(Self(()))
    }
}

/// What a page is charged to.
#[derive(Clone, Copy)]
pub(crate) enum Charge {
    /// The memory cgroup of the current task.
    Caller,
    /// Nothing: it serves all tasks.
    Nobody,
}

/// A page that the next kernel will get. Dropping it unpreserves and frees it.
///
/// # Invariants
///
/// `page` is a page from `lu_alloc_preserved()`. Only we use it; KHO's debugfs may show it to
/// userspace.
pub(crate) struct PreservedPage {
    page: NonNull<[u8; PAGE_SIZE]>,
}

// SAFETY: By the type invariant only we use the page. It is not bound to a thread.
unsafe impl Send for PreservedPage {}
// SAFETY: A shared reference only allows to read.
unsafe impl Sync for PreservedPage {}

impl PreservedPage {
    /// Allocates and preserves a page with any content. `ENOMEM`.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn new(_kho: Kho, charge: Charge) -> Result<Self> {
        let charge = matches!(charge, Charge::Caller);
        // SAFETY: `_kho` shows that KHO is on.
        let page = from_err_ptr(unsafe { bindings::lu_alloc_preserved(charge) })?;
        // INVARIANT: It comes from there, and nobody else got it.
        Ok(Self {
            page: NonNull::new(page.cast()).ok_or(ENOMEM)?,
        })
    }

    /// Where the next kernel will find it.
    pub(crate) fn addr(&self) -> PhysAddr {
        // SAFETY: By the type invariant it is the address of a page, in the linear mapping.
        PhysAddr(unsafe { bindings::lu_virt_to_phys(self.page.as_ptr().cast()) })
    }

    /// Adds the page to what is counted in `pieces`.
    pub(crate) fn count_in(&self, pieces: &mut Pieces) {
        if let Some(pfn) = Pfn::at(self.addr()) {
            pieces.add(pfn, 1);
        }
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: By the type invariant the page is valid, and only we use it. It comes from the page
        // allocator, foreign code to the compiler, so its bytes have some fixed value.
        unsafe { self.page.as_ref() }
    }

    /// The content, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: As in `bytes`, and this reference is the only one.
        unsafe { self.page.as_mut() }
    }
}

impl Drop for PreservedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page came from there and is not freed yet. Nothing uses it
        // afterwards.
        unsafe { bindings::kho_unpreserve_free(self.page.as_ptr().cast()) };
    }
}

/// An entry of KHO's own root, by which the next kernel finds a page under a name. Dropping it
/// removes the entry.
pub(crate) struct Subtree {
    page: PreservedPage,
}

impl Subtree {
    /// Writes `record` to the start of `page`, and announces it as `name`.
    ///
    /// `EEXIST` if something is announced as `name` already, `ENOMEM`.
    pub(crate) fn announce<R: Record>(
        _kho: Kho,
        name: &CStr,
        mut page: PreservedPage,
        record: &R,
    ) -> Result<Self> {
        const { assert!(R::SIZE <= PAGE_SIZE) };
        record.store(page.bytes_mut());
        let content = page.page.as_ptr().cast();
        // SAFETY: `_kho` shows that KHO is on. The name ends with a NUL, and is copied. The page is
        // at least as large as `R`, is preserved, and stays until `drop` has removed the entry.
        to_result(unsafe { bindings::kho_add_subtree(name.as_char_ptr(), content, R::SIZE) })?;
        Ok(Self { page })
    }

    /// Replaces what [`Subtree::announce`] wrote.
    pub(crate) fn rewrite<R: Record>(&mut self, record: &R) {
        const { assert!(R::SIZE <= PAGE_SIZE) };
        record.store(self.page.bytes_mut());
    }

    /// The page that is announced.
    pub(crate) fn page(&self) -> &PreservedPage {
        &self.page
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        // SAFETY: `announce` has added an entry for this page, and only this removes it.
        unsafe { bindings::kho_remove_subtree(self.page.page.as_ptr().cast()) };
    }
}
