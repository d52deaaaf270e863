// SPDX-License-Identifier: GPL-2.0-only

//! Kexec HandOver (KHO) for handlers: memory that the next kernel will get, and that the previous one
//! has left.
//!
//! ```text
//!   old kernel                                  new kernel
//!
//!   PreservedMemory::new()                      Handover::claim()
//!        │    bytes_mut()                            │
//!      addr() ──── data of the file ───────────► ClaimedMemory
//!        │                                           │    bytes()
//!   drop: unpreserved and freed                 drop: freed
//! ```
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    fmt,
    page::PAGE_SIZE,
    prelude::*, //
};

use super::bindings;

/// A proof that KHO is on, which most of its functions need. It is never turned off after boot.
#[derive(Clone, Copy)]
pub(crate) struct Kho(());

impl Kho {
    /// `None` if KHO is off.
    pub(crate) fn get() -> Option<Self> {
        // SAFETY: It reads a variable that does not change after boot.
        unsafe { bindings::kho_is_enabled() }.then_some(Self(()))
    }
}

/// A physical address, which only KHO can make use of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhysAddr(pub(crate) u64);

/// What is wrong with what the previous kernel has left.
#[derive(Clone, Copy)]
pub(crate) enum Damage {
    /// No memory of the expected size was handed over there.
    Address(PhysAddr),
    /// The memory does not contain what the handler writes; why, in words for the log.
    Content(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(PhysAddr(at)) => write!(f, "no memory was handed over at {at:#x}"),
            Self::Content(why) => f.write_str(why),
        }
    }
}

/// What `size` bytes are rounded up to: a power of two of pages. `None` if there is no such number.
fn rounded(size: usize) -> Option<usize> {
    size.max(PAGE_SIZE).checked_next_power_of_two()
}

/// Memory that the next kernel will get. Dropping it unpreserves and frees it.
///
/// # Invariants
///
/// `start` is what `lu_alloc_preserved()` has returned for `len` bytes, which are whole pages. Only
/// we use the memory; KHO's debugfs may show it to userspace.
pub(crate) struct PreservedMemory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: By the type invariant only we use the memory. It is not bound to a thread.
unsafe impl Send for PreservedMemory {}
// SAFETY: A shared reference only allows to read.
unsafe impl Sync for PreservedMemory {}

impl PreservedMemory {
    /// Allocates and preserves zeroed memory, physically contiguous. `size` is in bytes, and rounded
    /// up to a power of two of pages. The memory cgroup of the current task is charged.
    ///
    /// `E2BIG` if it is larger than any folio, `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    pub(crate) fn new(_kho: Kho, size: usize) -> Result<Self> {
        let len = rounded(size).ok_or(E2BIG)?;
        // SAFETY: `_kho` shows that KHO is on. The size is not 0.
        let start = from_err_ptr(unsafe { bindings::lu_alloc_preserved(len) })?;
        // INVARIANT: It comes from there, and nobody else got it.
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(ENOMEM)?,
            len,
        })
    }

    /// Where the next kernel will find it.
    pub(crate) fn addr(&self) -> PhysAddr {
        // SAFETY: By the type invariant it is an address in the linear mapping.
        PhysAddr(unsafe { bindings::lu_virt_to_phys(self.start.as_ptr().cast()) })
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariant these bytes are valid, initialized, because they were zeroed,
        // and nobody else writes to them.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The content, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `bytes()`, and this reference is the only one.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for PreservedMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the memory came from there and is not freed yet. Nothing uses
        // it afterwards.
        unsafe { bindings::kho_unpreserve_free(self.start.as_ptr().cast()) };
    }
}

/// The right to claim what the previous kernel has preserved.
///
/// KHO does not tell whose memory is where. A handler claims what the `data` of its file leads to. A
/// wrong address, which only a damaged file has, may be that of memory of another user of KHO, which
/// that user cannot claim afterwards.
///
/// KHO gives each piece to the first caller that claims it, but has no lock for that. Claims of this
/// module are made one at a time. Other modules have other files, and so other addresses.
pub(crate) struct Handover(());

impl Handover {
    pub(super) fn new() -> Self {
        Self(())
    }

    /// Claims the memory that [`PreservedMemory::addr`] has named in the previous kernel. `size` is
    /// the one it was made with, in bytes. That works once for each address.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn claim(&self, at: PhysAddr, size: usize) -> Result<ClaimedMemory, Damage> {
        let damage = Damage::Address(at);
        if at.0 % PAGE_SIZE as u64 != 0 {
            return Err(damage);
        }
        let mut len = 0;
        // SAFETY: There are no requirements for the address, and `len` can be written.
        let start = unsafe { bindings::lu_claim(at.0, &mut len) };
        let start = NonNull::new(start.cast()).ok_or(damage)?;
        // INVARIANT: KHO has restored the folio of `len` bytes for this caller alone.
        let memory = ClaimedMemory { start, len };
        if rounded(size) != Some(len) {
            return Err(damage);
        }
        Ok(memory)
    }
}

/// Memory of the previous kernel that was claimed. Dropping it frees it.
///
/// # Invariants
///
/// `start` is what `lu_claim()` has returned, with a size of `len` bytes. We own the only reference
/// to the memory.
pub(crate) struct ClaimedMemory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: By the type invariant only we use the memory. It is not bound to a thread.
unsafe impl Send for ClaimedMemory {}
// SAFETY: A shared reference only allows to read.
unsafe impl Sync for ClaimedMemory {}

impl ClaimedMemory {
    /// The content: what the previous kernel has written, whole pages of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariant these bytes are valid, and nobody else writes to them. They
        // are initialized, because the previous kernel had them as memory.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for ClaimedMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the memory, which `lu_claim()` has returned. Nothing
        // uses it afterwards.
        unsafe { bindings::lu_free_claimed(self.start.as_ptr().cast()) };
    }
}
