// SPDX-License-Identifier: GPL-2.0-only

//! What the previous kernel handed over.

use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        Arc,
        Mutex, //
    }, //
};

use super::{
    bindings,
    folio::ClaimedFolios,
    kho::Kho, //
};
use crate::abi::{
    ClaimMemory,
    Damage,
    Memory,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

/// Whether a [`Handover`] exists.
static TAKEN: Atomic<i32> = Atomic::new(0);

/// The only [`Handover`]; dropping it allows another one.
struct Singleton(());

impl Singleton {
    /// `EBUSY` if there is one.
    fn take() -> Result<Self> {
        match TAKEN.cmpxchg(0, 1, Acquire) {
            Ok(_) => Ok(Self(())),
            Err(_) => Err(EBUSY),
        }
    }
}

impl Drop for Singleton {
    fn drop(&mut self) {
        TAKEN.store(0, Release);
    }
}

/// Where the previous kernel put the structure that leads to all others.
#[derive(Clone, Copy)]
pub(crate) struct RootLocation {
    /// Its address.
    pub(crate) at: PhysAddr,
    /// Its size in bytes, as the previous kernel announced it.
    pub(crate) size: u64,
}

/// All memory that the previous kernel handed over, and the right to claim it.
///
/// KHO checks and clears its mark of a page without a lock: that suffices as long as no two callers
/// ask for the same page, which damaged state can make them do. So all claims are made under
/// [`Handover::claims`], and there is one `Handover` at a time.
#[pin_data]
pub(crate) struct Handover {
    /// What KHO said about the root. Its page can be read and rewritten, but not claimed: KHO
    /// will go on to say where it is when the module is loaded again.
    root: Result<Option<RootLocation>>,
    /// Held for one look at what was handed over, or for one claim. Workers that restore a file
    /// spend a fifth of their time under it. It is a mutex because that can be taken by whichever
    /// thread is running; a fair spinlock queues behind a preempted vCPU.
    #[pin]
    claims: Mutex<()>,
    _singleton: Singleton,
}

impl Handover {
    /// Finds the root, which the previous kernel announced as `name`.
    ///
    /// `EBUSY` if there is a `Handover` already, `ENOMEM`. May sleep.
    pub(crate) fn new(_kho: Kho, name: &CStr) -> Result<Arc<Self>> {
        let singleton = Singleton::take()?;
        Arc::pin_init(
            pin_init!(Self {
                root: find_root(name),
                claims <- new_mutex!(()),
                _singleton: singleton,
            }),
            GFP_KERNEL,
        )
    }

    /// Where the root is, if the previous kernel announced one. An error if KHO cannot tell.
    pub(crate) fn root(&self) -> Result<Option<RootLocation>> {
        self.root
    }

    /// Replaces the first bytes of the root, which stays handed over. May sleep.
    pub(crate) fn rewrite_root<R: Record>(&self, record: &R) -> Result<(), Damage> {
        let Ok(Some(RootLocation { at, .. })) = self.root else {
            return Err(Damage::Address { at: PhysAddr(0) });
        };
        let mut bytes = [0; 64];
        let bytes = bytes.get_mut(..R::SIZE).ok_or(Damage::Address { at })?;
        record.store(bytes);
        let _guard = self.claims.lock();
        // SAFETY: The C side checks the address, and `bytes` can be read.
        to_result(unsafe { bindings::lu_kho_poke(at.0, bytes.as_ptr().cast(), bytes.len()) })
            .map_err(|_| Damage::Address { at })
    }

    /// Takes the `1 << order` pages at `at`. That works once. May sleep.
    pub(crate) fn claim_pages(&self, at: PhysAddr, order: u32) -> Result<ClaimedPages, Damage> {
        if at.is_null() || at == self.protected() {
            return Err(Damage::Address { at });
        }
        let _guard = self.claims.lock();
        // SAFETY: The C side checks the address.
        let start = unsafe { bindings::lu_kho_claim_pages(at.0, order) };
        // INVARIANT: They were restored with one reference each.
        Ok(ClaimedPages {
            start: NonNull::new(start.cast()).ok_or(Damage::Address { at })?,
            order,
        })
    }

    /// The page that nobody may claim, or null.
    fn protected(&self) -> PhysAddr {
        match self.root {
            Ok(Some(root)) => root.at,
            _ => PhysAddr(0),
        }
    }
}

/// Asks KHO for what was announced as `name`.
fn find_root(name: &CStr) -> Result<Option<RootLocation>> {
    let mut at = 0;
    let mut size = 0;
    // SAFETY: The name is a string, and the pointers are those of local variables.
    let result = to_result(unsafe {
        bindings::kho_retrieve_subtree(name.as_char_ptr(), &mut at, &mut size)
    });
    match result {
        Ok(()) => Ok(Some(RootLocation {
            at: PhysAddr(at),
            size: size as u64,
        })),
        Err(ENOENT) => Ok(None),
        Err(err) => Err(err),
    }
}

impl Memory for Handover {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage> {
        let _guard = self.claims.lock();
        // SAFETY: The C side checks the address, and `into` is writable.
        to_result(unsafe { bindings::lu_kho_peek(at.0, into.as_mut_ptr().cast(), into.len()) })
            .map_err(|_| Damage::Address { at })
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
        let root = self.protected().0 / PAGE_SIZE as u64;
        // SAFETY: Any frame may be asked about, and there is room for as many orders.
        unsafe {
            bindings::lu_kho_orders(frames.as_ptr(), count as u32, root, orders.as_mut_ptr());
        }
    }

    fn claim_pages(&self, at: PhysAddr, order: u32) -> Result<ClaimedPages, Damage> {
        Handover::claim_pages(self, at, order)
    }

    fn claim_folios<const N: usize>(
        &self,
        frames: &[u64],
        orders: &[u8],
        visit: impl FnOnce(ClaimedFolios<'_>),
    ) -> Result<(), Damage> {
        let mut room = [const { MaybeUninit::<*mut bindings::folio>::uninit() }; N];
        let count = frames.len().min(orders.len()).min(N);
        let guard = self.claims.lock();
        // SAFETY: `orders` found something at these frames, and there is room for as many folios.
        let claimed = unsafe {
            bindings::lu_kho_claim_folios(
                frames.as_ptr(),
                orders.as_ptr(),
                count as u32,
                room.as_mut_ptr().cast(),
            )
        } as usize;
        drop(guard);
        // SAFETY: As many were written.
        let folios = unsafe { core::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), claimed) };
        // SAFETY: They were restored with one reference.
        let folios = unsafe { ClaimedFolios::from_raw(folios) };
        if let Some(frame) = frames.get(claimed) {
            let at = PhysAddr(frame * PAGE_SIZE as u64);
            return Err(Damage::Address { at });
        }
        visit(folios);
        Ok(())
    }
}

impl kernel::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
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
