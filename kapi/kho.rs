// SPDX-License-Identifier: GPL-2.0-only

//! Kexec HandOver (KHO): pages that the next kernel will get.

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
        // SAFETY: There are no requirements.
        unsafe { bindings::kho_is_enabled() }.then_some(Self(()))
    }
}

/// Whose memory a page is.
#[derive(Clone, Copy)]
pub(crate) enum Charge {
    /// That of the memory cgroup of the current task.
    Caller,
    /// What all share.
    Nobody,
}

/// A page that the next kernel will get. Dropping it takes it back.
///
/// # Invariants
///
/// `page` came from `lu_kho_alloc()`, is one page large and ours alone.
pub(crate) struct PreservedPage {
    page: NonNull<[u8; PAGE_SIZE]>,
}

// SAFETY: The page is ours alone and not bound to a thread.
unsafe impl Send for PreservedPage {}
// SAFETY: A shared reference only reads.
unsafe impl Sync for PreservedPage {}

impl PreservedPage {
    /// Allocates and preserves a page with anything in it. May sleep.
    pub(crate) fn new(_kho: Kho, charge: Charge) -> Result<Self> {
        let charge = matches!(charge, Charge::Caller);
        // SAFETY: There are no requirements.
        let page = from_err_ptr(unsafe { bindings::lu_kho_alloc(charge) })?;
        // INVARIANT: That is where it comes from.
        Ok(Self {
            page: NonNull::new(page.cast()).ok_or(ENOMEM)?,
        })
    }

    /// Where the next kernel will find it.
    pub(crate) fn addr(&self) -> PhysAddr {
        // SAFETY: By the type invariant the page is in the linear mapping.
        PhysAddr(unsafe { bindings::lu_virt_to_phys(self.page.as_ptr().cast()) })
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariant the page is valid and ours alone.
        unsafe { self.page.as_ref() }
    }

    /// The content, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the type invariant the page is valid and ours alone.
        unsafe { self.page.as_mut() }
    }
}

impl Drop for PreservedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::kho_unpreserve_free(self.page.as_ptr().cast()) };
    }
}

/// An entry of the KHO root, which makes the next kernel find a page by a name. It is gone when
/// this is dropped.
pub(crate) struct Subtree {
    page: PreservedPage,
}

impl Subtree {
    /// Writes `record` to the start of `page`, and announces it as `name`.
    ///
    /// `EEXIST` if there is something of that name already.
    pub(crate) fn announce<R: Record>(
        _kho: Kho,
        name: &CStr,
        mut page: PreservedPage,
        record: &R,
    ) -> Result<Self> {
        const { assert!(R::SIZE <= PAGE_SIZE) };
        record.store(page.bytes_mut());
        let content = page.page.as_ptr().cast();
        // SAFETY: The name is a string that is copied, and the page, which is as large as `R` at
        // least, stays until the entry is removed in `drop`.
        to_result(unsafe { bindings::kho_add_subtree(name.as_char_ptr(), content, R::SIZE) })?;
        Ok(Self { page })
    }

    /// Replaces what [`Subtree::announce`] wrote.
    pub(crate) fn rewrite<R: Record>(&mut self, record: &R) {
        const { assert!(R::SIZE <= PAGE_SIZE) };
        record.store(self.page.bytes_mut());
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        // SAFETY: `announce` added the entry for this page.
        unsafe { bindings::kho_remove_subtree(self.page.page.as_ptr().cast()) };
    }
}
