// SPDX-License-Identifier: GPL-2.0-only

//! What KHO marked as handed over, and whether it may be claimed.
//!
//! KHO writes a mark to `page->private` of the first page of each piece of memory that the previous
//! kernel preserved, and clears it when the piece is restored. Before it restores one, it looks at
//! nothing else. Three states that a damaged list of addresses, or a previous kernel with a bug, can
//! bring about would make it give one page to two owners:
//!
//! ```text
//!   frame      0     1     2     3     4     5     6     7
//!              │     │     │     │     │     │     │     │
//!   private  [ KHOP│2, 0   , KHOP│0, 0 ]  0    KHOP│1      0
//!              └── a piece of 4 ──┘           └── not aligned
//!                         └─ another inside of it
//! ```
//!
//! So a piece is claimed only if its mark has an order that a piece can have, the piece is aligned,
//! no other page in it has anything in `private`, and no larger piece covers it. All of these looks
//! stay within one block of `1 << MAX_PAGE_ORDER` aligned pages, whose `struct page`s are an array.
//!
//! No mark is set after the kernel has booted, so a look without a lock can only find too much. A
//! claim looks again under the lock of its block: see [`ClaimMemory`](super::ClaimMemory).

use super::{
    units::{
        Order,
        Pfn,
        BLOCK_PAGES, //
    },
    PhysAddr, //
};

/// `KHO_PAGE_MAGIC` of `kernel/liveupdate/kexec_handover.c`, in the upper half of the mark. The
/// order is in the lower one.
const MAGIC: u64 = 0x4b48_4f50 << 32;

/// A page in whose `private` KHO may have written a mark.
pub(crate) trait MarkedPage {
    /// The value of `private` at this moment.
    fn private(&self) -> u64;
}

/// Memory of this kernel, as far as marks are concerned.
pub(crate) trait PageMap {
    /// See [`MarkedPage`].
    type Page: MarkedPage;

    /// All pages of the block of the largest order that `pfn` is in, in order. `None` if no piece
    /// begins at `pfn`, or if there is no such memory.
    fn block(&self, pfn: Pfn) -> Option<&[Self::Page; BLOCK_PAGES]>;

    /// The frame of the root, which may not be claimed; [`Pfn::NULL`] if there is none.
    fn protected(&self) -> Pfn;
}

/// The mark of a piece of this order.
#[inline]
fn mark(order: Order) -> u64 {
    MAGIC | u64::from(order.get())
}

/// Whether a page with this `private` is the first one of a piece.
pub(crate) fn is_mark(private: u64) -> bool {
    order_in(private).is_some()
}

/// The order of the piece whose first page has this `private`, if it is a mark.
#[inline]
fn order_in(private: u64) -> Option<Order> {
    // With any other magic, this is larger than every order.
    Order::new(private.wrapping_sub(MAGIC))
}

/// A block that was looked up, for the case that the next page is in it too.
pub(super) struct Blocks<'a, M: PageMap> {
    map: &'a M,
    number: u64,
    pages: Option<&'a [M::Page; BLOCK_PAGES]>,
}

impl<'a, M: PageMap> Blocks<'a, M> {
    /// Nothing was looked up yet.
    #[inline]
    pub(super) fn new(map: &'a M) -> Self {
        Self {
            map,
            number: 0,
            pages: None,
        }
    }

    /// See [`PageMap::block`].
    #[inline]
    fn pages(&mut self, pfn: Pfn) -> Option<&'a [M::Page; BLOCK_PAGES]> {
        if self.pages.is_none() || pfn.block() != self.number {
            self.pages = self.map.block(pfn);
            self.number = pfn.block();
        }
        self.pages
    }

    /// The order of the piece that begins at `pfn`, if one does. Another piece may overlap it.
    #[inline]
    pub(super) fn order(&mut self, pfn: Pfn) -> Option<Order> {
        let page = self.pages(pfn)?.get(pfn.slot())?;
        order_in(page.private()).filter(|order| pfn.is_aligned(*order))
    }
}

/// Whether KHO wrote the mark of a piece of this order to the page `pfn` of `block`.
#[inline]
pub(super) fn begins<P: MarkedPage>(block: &[P; BLOCK_PAGES], pfn: Pfn, order: Order) -> bool {
    let page = block.get(pfn.slot());
    page.is_some_and(|page| page.private() == mark(order))
}

/// Whether a piece of this order begins at `pfn`, in `block`, and shares no page with another one.
#[inline]
pub(super) fn is_claimable<P: MarkedPage>(
    block: &[P; BLOCK_PAGES],
    pfn: Pfn,
    order: Order,
) -> bool {
    let slot = pfn.slot();
    begins(block, pfn, order)
        && (order == Order::PAGE || pfn.is_aligned(order) && is_empty_inside(block, slot, order))
        && !is_covered(block, slot)
}

/// Whether all pages of the piece but its first one have nothing in `private`: memory without an
/// owner has 0 there.
// Few pieces are larger than a page. Without this loop, its caller is short.
#[inline(never)]
fn is_empty_inside<P: MarkedPage>(block: &[P; BLOCK_PAGES], slot: usize, order: Order) -> bool {
    let end = slot + order.pages() as usize;
    let Some(pages) = block.get(slot + 1..end) else {
        return false;
    };
    // This reads every page of a file of huge pages, so it does not branch for each.
    let eights = pages.chunks_exact(8);
    let rest = eights.remainder();
    let any = |pages: &[P]| pages.iter().fold(0, |all, page| all | page.private());
    let mut all = any(rest);
    for eight in eights {
        all |= any(eight);
    }
    all == 0
}

/// Whether a larger piece begins before `slot` and covers it. Pieces are aligned, so one can only
/// begin where the lowest bits of `slot` that are set are cleared.
#[inline]
fn is_covered<P: MarkedPage>(block: &[P; BLOCK_PAGES], slot: usize) -> bool {
    let mut head = slot;
    while head != 0 {
        head &= head - 1;
        let private = block.get(head).map_or(0, MarkedPage::private);
        let covers = |order: Order| {
            let pages = order.pages() as usize;
            head & (pages - 1) == 0 && head + pages > slot
        };
        // Nearly all pages have 0 there, which is no mark.
        if private != 0 && order_in(private).is_some_and(covers) {
            return true;
        }
    }
    false
}

/// Whether a piece begins at `at`, so that its first page may be read.
pub(crate) fn is_readable(map: &impl PageMap, at: PhysAddr) -> bool {
    Pfn::at(at).is_some_and(|pfn| Blocks::new(map).order(pfn).is_some())
}

/// The first frame of the piece of this order at `at`, if it may be claimed.
pub(crate) fn claimable(map: &impl PageMap, at: PhysAddr, order: Order) -> Option<Pfn> {
    let pfn = Pfn::at(at).filter(|pfn| *pfn != Pfn::NULL && *pfn != map.protected())?;
    is_claimable(map.block(pfn)?, pfn, order).then_some(pfn)
}
