// SPDX-License-Identifier: GPL-2.0-only

//! What the previous kernel handed over.
//!
//! # Peek, claim, parse, trust
//!
//! KHO keeps memory for this kernel, but says nothing of what it is: all there is to find it are
//! physical addresses in that memory, and one name, that of the root. An address may be wrong, name
//! memory of another user of KHO, or be named twice. So every value takes the same way:
//!
//! 1. *Peek.* [`Memory::peek`] copies a few bytes from an address, if KHO has marked the page there.
//!    Their reader in `abi/` checks the copy. Memory that is not what the address promised stays
//!    untouched.
//! 2. *Claim.* [`Handover::claim_pages`] and [`ClaimMemory::claim_run`] compare the mark with the
//!    size that the reader expects, check that no other piece overlaps, and let KHO restore the
//!    pages. That works once for each page. [`ClaimedPages`] or [`ClaimedFolios`] own them from then
//!    on, and free them when they are dropped.
//! 3. *Parse.* Only what was claimed is read at length. Nobody else can write to it any more.
//! 4. *Trust.* What the validating constructors of `abi/` return needs no more checks.
//!
//! A page that two structures name goes to the first that claims it. The root is never claimed: KHO
//! will go on to say where it is when the module is loaded again.
//!
//! KHO follows its mark without a look at anything else, and without a lock. What is checked instead,
//! and why that suffices, is in [`marks`].
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
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
        MutexGuard, //
    },
    types::Opaque, //
};

use super::{
    bindings,
    claim_locks::ClaimLocks,
    claimed::{
        ClaimedFolios,
        ClaimedPages, //
    },
    kho::Kho, //
};
use crate::abi::{
    array::{
        FolioRun,
        FoundRun, //
    },
    marks::{
        self,
        MarkedPage,
        PageMap, //
    },
    memory::MAX_RECORD,
    units::{
        Order,
        Pfn,
        BLOCK_PAGES, //
    },
    ClaimMemory,
    Damage,
    Memory,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

/// Whether a [`Handover`] exists.
static TAKEN: Atomic<i32> = Atomic::new(0);

/// The right to be the only [`Handover`]. Dropping it allows another one.
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
/// # Invariants
///
/// There is one at a time, so that all claims in a block are made under one lock.
#[pin_data]
pub(crate) struct Handover {
    /// What KHO said about the root.
    root: Result<Option<RootLocation>>,
    /// Held for one look at the content of what was handed over, or for one claim: KHO checks and
    /// clears its marks without a lock.
    #[pin]
    pub(super) claims: ClaimLocks,
    _singleton: Singleton,
}

impl Handover {
    /// Finds the root, which the previous kernel announced as `name`.
    ///
    /// `EBUSY` if there is a `Handover` already, `ENOMEM`.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn new(_kho: Kho, name: &CStr) -> Result<Arc<Self>> {
        // INVARIANT: There is no other one as long as this one owns its `Singleton`.
        let singleton = Singleton::take()?;
        Arc::pin_init(
            pin_init!(Self {
                root: find_root(name),
                claims <- ClaimLocks::new(),
                _singleton: singleton,
            }),
            GFP_KERNEL,
        )
    }

    /// Where the root is, if the previous kernel announced one. An error if KHO cannot tell.
    pub(crate) fn root(&self) -> Result<Option<RootLocation>> {
        self.root
    }

    /// Replaces the first bytes of the root, which stays handed over.
    ///
    /// # Context
    ///
    /// May sleep. Takes the lock of the block.
    pub(crate) fn rewrite_root<R: Record>(&self, record: &R) -> Result<(), Damage> {
        const { assert!(R::SIZE <= MAX_RECORD) };
        let at = self.root_address();
        let _guard = self.lock(at)?;
        let page = self.content(at)?;
        let mut bytes = [0; MAX_RECORD];
        record.store(&mut bytes);
        // SAFETY: `content` says that `page` is valid for reads as long as we hold the lock, which
        // we do; it is for writes too, because the linear mapping of memory is writable. The record
        // fits into both. The root is never claimed, and this module reads it only under the lock.
        // KHO's debugfs may read it meanwhile: what is torn then only reaches userspace.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), page.as_ptr().cast::<u8>(), R::SIZE)
        };
        Ok(())
    }

    /// Claims the `1 << order` pages at `at` as single pages.
    ///
    /// # Context
    ///
    /// May sleep. Takes the lock of the block.
    pub(crate) fn claim_pages(&self, at: PhysAddr, order: u32) -> Result<ClaimedPages, Damage> {
        let order = Order::new(order.into()).ok_or(Damage::Address { at })?;
        ClaimMemory::claim_pages(self, at, order)
    }

    /// Reads the record at the start of the page at `at`, and frees the page if `check` accepts the
    /// record. A page that it does not accept may be any memory that was handed over, and stays.
    ///
    /// # Context
    ///
    /// May sleep. Takes the lock of the block.
    pub(crate) fn take_record<R: Record, T>(
        &self,
        at: PhysAddr,
        check: impl FnOnce(R) -> Result<T, Damage>,
    ) -> Result<T, Damage> {
        const { assert!(R::SIZE <= MAX_RECORD) };
        let guard = self.lock(at)?;
        let page = self.claimable(&guard, at, Order::PAGE)?;
        let checked = check(R::load(&page.first_bytes()))?;
        page.claim().map(|_| checked)
    }

    /// Takes the lock of the block that `at` is in.
    fn lock(&self, at: PhysAddr) -> Result<MutexGuard<'_, ()>, Damage> {
        let pfn = Pfn::at(at).ok_or(Damage::Address { at })?;
        Ok(self.claims.lock(pfn))
    }

    /// Finds the piece of this order at `at`, whose block the caller has locked.
    fn claimable<'a>(
        &self,
        _guard: &'a MutexGuard<'_, ()>,
        at: PhysAddr,
        order: Order,
    ) -> Result<Claimable<'a>, Damage> {
        let pfn = marks::claimable(self, at, order).ok_or(Damage::Address { at })?;
        // INVARIANT: By the type invariant the guard excludes all other claims in the block, and
        // `marks` has looked at the marks there meanwhile.
        Ok(Claimable {
            at: pfn.addr(),
            order,
            _guard: PhantomData,
        })
    }

    /// The address of the root, or null.
    fn root_address(&self) -> PhysAddr {
        match self.root {
            Ok(Some(root)) => root.at,
            _ => PhysAddr(0),
        }
    }

    /// The page at `at`, if something that was handed over begins there. It is valid for reads as
    /// long as the caller holds the lock of its block: until it is claimed, it is not freed.
    fn content(&self, at: PhysAddr) -> Result<NonNull<[u8; PAGE_SIZE]>, Damage> {
        if at.is_null() || !marks::is_readable(self, at) {
            return Err(Damage::Address { at });
        }
        // SAFETY: The page has a mark, so it is online.
        let page = unsafe { bindings::lu_phys_to_virt(at.0) };
        NonNull::new(page.cast()).ok_or(Damage::Address { at })
    }
}

/// A piece of memory that may be claimed, as long as the lock of its block is held.
///
/// # Invariants
///
/// - KHO's mark says that a piece of `order` begins at `at`. It was not restored, it is aligned, and
///   it shares no page with another.
/// - The lock of its block is held for `'a`.
struct Claimable<'a> {
    at: PhysAddr,
    order: Order,
    _guard: PhantomData<&'a MutexGuard<'a, ()>>,
}

impl Claimable<'_> {
    /// A copy of the first bytes.
    fn first_bytes(&self) -> [u8; MAX_RECORD] {
        // SAFETY: The page has a mark, so it is online.
        let page = unsafe { bindings::lu_phys_to_virt(self.at.0) };
        // SAFETY: `page` is the address of a page in the linear mapping. By the type invariants it
        // was not restored, so nobody frees it, and nobody else writes to it.
        unsafe { page.cast::<[u8; MAX_RECORD]>().read() }
    }

    /// Claims the piece as single pages.
    fn claim(self) -> Result<ClaimedPages, Damage> {
        let damage = Damage::Address { at: self.at };
        // SAFETY: By the type invariants KHO will restore that many pages at once, and no other
        // claim of this module can restore one of them. Other users of KHO claim what they
        // preserved; an address that leads there is damage that nothing can tell from honest data
        // (docs/format.md).
        let page = unsafe { bindings::kho_restore_pages(self.at.0, self.order.pages() as usize) };
        let page = NonNull::new(page).ok_or(damage)?;
        // SAFETY: The page was restored, so it is online.
        let start = unsafe { bindings::lu_page_address(page.as_ptr()) };
        let start = NonNull::new(start.cast()).ok_or(damage)?;
        // SAFETY: KHO gives the pages back as adjacent single pages with one reference to each.
        Ok(unsafe { ClaimedPages::from_raw(start, self.order) })
    }
}

/// Asks KHO where the previous kernel put what it announced as `name`.
fn find_root(name: &CStr) -> Result<Option<RootLocation>> {
    let mut at = 0;
    let mut size = 0;
    // SAFETY: `name` ends with a NUL, and `at` and `size` can be written.
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

/// The `struct page` of a page that may have been handed over.
#[repr(transparent)]
pub(crate) struct KhoPage(Opaque<bindings::page>);

impl MarkedPage for KhoPage {
    #[inline]
    fn private(&self) -> u64 {
        // SAFETY: The offset is that of `private` in `struct page`, of which this is one.
        let private = unsafe {
            self.0
                .get()
                .byte_add(bindings::LU_OFFSETOF_PAGE_PRIVATE as usize)
                .cast::<u64>()
        };
        // SAFETY: The field is valid and aligned. The owner of the page may change it meanwhile: a
        // volatile read of a word is then one of its values, as with READ_ONCE().
        unsafe { private.read_volatile() }
    }
}

impl PageMap for Handover {
    type Page = KhoPage;

    #[inline]
    fn block(&self, pfn: Pfn) -> Option<&[KhoPage; BLOCK_PAGES]> {
        // SAFETY: Any number can be asked for.
        let page = unsafe { bindings::lu_pfn_to_online_page(pfn.0 as usize) };
        let page = NonNull::new(page)?.as_ptr().cast::<KhoPage>();
        // SAFETY: `page` is the `struct page` of memory that was online a moment ago.
        // `pfn_to_online_page()` leaves it to its callers that memory may be removed meanwhile.
        let first = unsafe { &*page };
        if !marks::is_mark(first.private()) {
            return None;
        }
        // SAFETY:
        // - `lu_pfn_to_online_page` says that the pages of the whole block are an array, and `slot`
        //   is the position of this one in it. All fields are inside `UnsafeCell`.
        // - The page is marked, so KHO holds it: memory hotplug cannot remove a block with such a
        //   page. The page stays held until the file that is being restored has all its folios.
        Some(unsafe { &*page.sub(pfn.slot()).cast() })
    }

    fn protected(&self) -> Pfn {
        Pfn::at(self.root_address()).unwrap_or(Pfn::NULL)
    }
}

impl Memory for Handover {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage> {
        if into.len() > PAGE_SIZE {
            return Err(Damage::Address { at });
        }
        let _guard = self.lock(at)?;
        let page = self.content(at)?;
        // SAFETY: `page` is valid for reads of a page, which is at least `into.len()` bytes, as long
        // as the lock is held. `into` is not in it, because it has another owner.
        unsafe {
            core::ptr::copy_nonoverlapping(page.as_ptr().cast(), into.as_mut_ptr(), into.len())
        };
        Ok(())
    }
}

impl ClaimMemory for Handover {
    type Pages = ClaimedPages;
    type Folios<'a> = ClaimedFolios<'a>;

    fn max_folio_order(&self) -> Order {
        // SAFETY: It can be called in any context.
        let order = unsafe { bindings::lu_max_incoming_order() };
        Order::new(order.into()).unwrap_or(Order::PAGE)
    }

    fn claim_pages(&self, at: PhysAddr, order: Order) -> Result<ClaimedPages, Damage> {
        let guard = self.lock(at)?;
        self.claimable(&guard, at, order)?.claim()
    }

    fn claim_run(
        &self,
        run: FoundRun<'_>,
        place: &FolioRun,
        visit: &mut impl FnMut(ClaimedFolios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        // SAFETY: It can be called in any context.
        let max_order = unsafe { bindings::lu_max_folio_order() };
        if u32::from(run.order().get()) <= max_order {
            self.claim_folios(run, place, visit)
        } else {
            self.claim_as_pages(run, place, visit)
        }
    }
}

impl kernel::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
