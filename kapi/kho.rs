// SPDX-License-Identifier: GPL-2.0-only

//! Kexec HandOver memory: pages for the next kernel, and what the previous one left.

use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    str::CStr,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    }, //
};

use super::{
    bindings,
    folio::ClaimedFolios, //
};
use crate::abi::{
    ClaimMemory,
    Memory,
    PhysAddr,
    Record,
    Damage,
    PAGE_SIZE, //
};

/// Whether this kernel was booted with `kho=on`.
///
/// Nothing else of this file may be used if it was not.
pub(crate) fn enabled() -> bool {
    // SAFETY: There are no requirements.
    unsafe { bindings::kho_is_enabled() }
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
    pub(crate) fn new(charge: Charge) -> Result<Self> {
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
    /// Announces the first `size` bytes of `page` as `name`.
    ///
    /// `EEXIST` if there is something of that name already.
    pub(crate) fn announce(name: &CStr, page: PreservedPage, size: usize) -> Result<Self> {
        let content = page.page.as_ptr().cast();
        // SAFETY: The name is a string that is copied, and the page stays until the entry is
        // removed in `drop`.
        to_result(unsafe { bindings::kho_add_subtree(name.as_char_ptr(), content, size) })?;
        Ok(Self { page })
    }

    /// The page.
    pub(crate) fn page_mut(&mut self) -> &mut PreservedPage {
        &mut self.page
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        // SAFETY: `announce` added the entry for this page.
        unsafe { bindings::kho_remove_subtree(self.page.page.as_ptr().cast()) };
    }
}

/// What [`incoming_subtree`] found. Nobody may claim it, whatever points at it: KHO goes on to say
/// where it is.
static ROOT: Atomic<u64> = Atomic::new(0);

/// Whether `at` can be what a structure of the previous kernel points at.
pub(super) fn check_address(at: PhysAddr) -> Result<(), Damage> {
    if at.is_null() || at.0 == ROOT.load(Relaxed) {
        return Err(Damage::Address(at));
    }
    Ok(())
}

/// Where the previous kernel put what it announced as `name`, and how many bytes it is. That page
/// stays: it can be read and rewritten, but not claimed.
pub(crate) fn incoming_subtree(name: &CStr) -> Result<Option<(PhysAddr, u64)>> {
    let mut at = 0;
    let mut size = 0;
    // SAFETY: The name is a string, and the pointers are those of local variables.
    let result = to_result(unsafe {
        bindings::kho_retrieve_subtree(name.as_char_ptr(), &mut at, &mut size)
    });
    match result {
        Ok(()) => {
            ROOT.store(at, Relaxed);
            Ok(Some((PhysAddr(at), size as u64)))
        }
        Err(ENOENT) => Ok(None),
        Err(err) => Err(err),
    }
}

/// What the previous kernel handed over.
pub(crate) struct Handover;

impl Handover {
    /// Replaces the first bytes of what was handed over at `at`, which stays handed over.
    pub(crate) fn rewrite<R: Record>(&self, at: PhysAddr, record: &R) -> Result<(), Damage> {
        let mut bytes = [0; 64];
        record.store(&mut bytes);
        let len = R::SIZE.min(bytes.len());
        // SAFETY: The C side checks the address, and `len` bytes are there.
        to_result(unsafe { bindings::lu_kho_poke(at.0, bytes.as_ptr().cast(), len) })
            .map_err(|_| Damage::Address(at))
    }
}

impl kernel::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl Memory for Handover {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage> {
        // SAFETY: The C side checks the address, and `into` is writable.
        to_result(unsafe { bindings::lu_kho_peek(at.0, into.as_mut_ptr().cast(), into.len()) })
            .map_err(|_| Damage::Address(at))
    }
}

impl ClaimMemory for Handover {
    type Pages = ClaimedPages;
    type Folios<'a> = ClaimedFolios<'a>;

    fn max_folio_order(&self) -> u32 {
        // SAFETY: There are no requirements.
        unsafe { bindings::lu_shmem_max_order() }
    }

    fn orders(&self, frames: &[u64], orders: &mut [u8]) {
        let count = frames.len().min(orders.len());
        let root = ROOT.load(Relaxed) / PAGE_SIZE as u64;
        // SAFETY: Any frame may be asked about, and there is room for as many orders.
        unsafe {
            bindings::lu_kho_orders(frames.as_ptr(), count as u32, root, orders.as_mut_ptr());
        }
    }

    fn claim_pages(&self, at: PhysAddr, order: u32) -> Result<ClaimedPages, Damage> {
        ClaimedPages::claim(at, order)
    }

    fn claim_folios<const N: usize>(
        &self,
        frames: &[u64],
        orders: &[u8],
        visit: impl FnOnce(ClaimedFolios<'_>),
    ) -> Result<(), Damage> {
        let mut room = [const { MaybeUninit::<*mut bindings::folio>::uninit() }; N];
        let count = frames.len().min(orders.len()).min(N);
        // SAFETY: `orders` found something at these frames, and there is room for as many folios.
        let claimed = unsafe {
            bindings::lu_kho_claim_folios(
                frames.as_ptr(),
                orders.as_ptr(),
                count as u32,
                room.as_mut_ptr().cast(),
            )
        } as usize;
        // SAFETY: As many were written.
        let folios = unsafe { core::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), claimed) };
        // SAFETY: They were restored with one reference.
        let folios = unsafe { ClaimedFolios::from_raw(folios) };
        if let Some(frame) = frames.get(claimed) {
            return Err(Damage::Address(PhysAddr(frame * PAGE_SIZE as u64)));
        }
        visit(folios);
        Ok(())
    }
}

/// Pages that were handed over and are ours now. Dropping them frees them.
///
/// # Invariants
///
/// `start` is the address of `1 << order` adjacent pages, of each of which we hold the only
/// reference.
pub(crate) struct ClaimedPages {
    start: NonNull<u8>,
    order: u32,
}

// SAFETY: The pages are ours alone and not bound to a thread.
unsafe impl Send for ClaimedPages {}
// SAFETY: A shared reference only reads.
unsafe impl Sync for ClaimedPages {}

impl ClaimedPages {
    /// Takes the `1 << order` pages at `at`. That works once.
    pub(crate) fn claim(at: PhysAddr, order: u32) -> Result<Self, Damage> {
        check_address(at)?;
        // SAFETY: The C side checks the address.
        let start = unsafe { bindings::lu_kho_claim_pages(at.0, order) };
        // INVARIANT: They were restored with one reference each.
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(Damage::Address(at))?,
            order,
        })
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariant the pages are there, and nobody else uses them.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), PAGE_SIZE << self.order) }
    }
}

impl AsRef<[u8]> for ClaimedPages {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for ClaimedPages {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the references are ours.
        unsafe { bindings::lu_free_pages(self.start.as_ptr().cast(), self.order) };
    }
}
