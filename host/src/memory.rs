// SPDX-License-Identifier: GPL-2.0-only

//! Simulates the memory that the previous kernel preserved, with the marks that KHO writes to it.
//!
//! The tests show that readers accept nothing else: [`Pages`] fails where the kernel would.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use crate::abi::{
    array::{FolioRun, FoundRun},
    marks::{claimable, is_readable, MarkedPage, PageMap},
    units::{Order, Pfn, BLOCK_PAGES},
    ClaimMemory, Damage, Memory, PhysAddr, PAGE_SIZE,
};

/// The `private` field of a `struct page`.
pub(crate) struct Page(Cell<u64>);

impl MarkedPage for Page {
    fn private(&self) -> u64 {
        self.0.get()
    }
}

/// The mark that KHO writes to `private` of the first page of a piece of this order.
pub(crate) fn mark(order: u32) -> u64 {
    0x4b48_4f50 << 32 | u64::from(order)
}

/// The preserved pieces, by address. No other memory is preserved.
pub(crate) struct Pages {
    pieces: BTreeMap<u64, Piece>,
    /// `private` of all pages in the blocks of memory that exist, by index of the block.
    blocks: BTreeMap<u64, Box<[Page; BLOCK_PAGES]>>,
    /// The claimed pieces, in the order of the claims.
    claimed: RefCell<Vec<(Pfn, Order)>>,
    /// How many more times [`Memory::peek`] can succeed.
    peeks_left: Cell<usize>,
    /// The frame of the root, which nobody may claim.
    protected: Pfn,
}

/// Adjacent pages that begin with `content`, followed by zeroes.
struct Piece {
    content: Vec<u8>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            blocks: BTreeMap::new(),
            claimed: RefCell::default(),
            peeks_left: Cell::new(usize::MAX),
            protected: Pfn::NULL,
        }
    }
}

impl Pages {
    /// Adds a piece of one page with `content` at `at`.
    pub(crate) fn put(&mut self, at: u64, content: &[u8]) {
        self.put_order(at, 0, content);
    }

    /// Adds a piece of `1 << order` pages with `content` at `at`.
    pub(crate) fn put_order(&mut self, at: u64, order: u32, content: &[u8]) {
        let content = content.to_vec();
        self.pieces.insert(at, Piece { content });
        self.set_private(Pfn(at / PAGE_SIZE as u64), mark(order));
    }

    /// Adds the block that contains `pfn`, and sets `private` of that page.
    pub(crate) fn set_private(&mut self, pfn: Pfn, private: u64) {
        let empty = || Box::new([const { Page(Cell::new(0)) }; BLOCK_PAGES]);
        let block = self.blocks.entry(pfn.0 / BLOCK_PAGES as u64);
        block.or_insert_with(empty)[pfn.slot()].0.set(private);
    }

    /// Makes `pfn` the frame of the root.
    pub(crate) fn protect(&mut self, pfn: Pfn) {
        self.protected = pfn;
    }

    /// Removes the piece at `at`, as if it had not been preserved.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, at: u64) {
        self.pieces.remove(&at);
        self.set_private(Pfn(at / PAGE_SIZE as u64), 0);
    }

    /// The number of pieces, claimed or not.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The number of pieces that were not claimed.
    #[cfg(test)]
    pub(crate) fn unclaimed(&self) -> usize {
        self.len() - self.claimed.borrow().len()
    }

    /// The claimed pieces, in the order of the claims.
    pub(crate) fn claimed(&self) -> Vec<(Pfn, Order)> {
        self.claimed.borrow().clone()
    }

    /// Makes [`Memory::peek`] fail after `peeks_left` more calls.
    pub(crate) fn limit(&self, peeks_left: usize) {
        self.peeks_left.set(peeks_left);
    }

    /// `private` of a page; `None` if no block contains the page.
    pub(crate) fn private(&self, pfn: Pfn) -> Option<u64> {
        Some(self.block(pfn)?[pfn.slot()].private())
    }

    /// Clears the mark of a piece and returns its order, as KHO does when it restores the piece.
    fn restore(&self, pfn: Pfn) -> Order {
        let page = &self.block(pfn).unwrap()[pfn.slot()];
        let order = Order::new(page.0.replace(0) & 0xffff_ffff).unwrap();
        self.claimed.borrow_mut().push((pfn, order));
        order
    }
}

/// Simulates the page cache of a file that is being restored: where its folios begin and end.
#[derive(Default)]
pub(crate) struct PageCache(BTreeMap<u64, u64>);

impl PageCache {
    /// Inserts folios of `order` one after the other from `index` on. Stops and returns `false` at
    /// one that overlaps a folio that is there.
    pub(crate) fn insert(&mut self, index: u64, order: u32, count: usize) -> bool {
        (0..count as u64).all(|nr| {
            let start = index + (nr << order);
            let end = start + (1 << order);
            let before = self.0.range(..end).next_back();
            let is_free = before.is_none_or(|(_, other_end)| *other_end <= start);
            if is_free {
                self.0.insert(start, end);
            }
            is_free
        })
    }
}

impl PageMap for Pages {
    type Page = Page;

    fn block(&self, pfn: Pfn) -> Option<&[Page; BLOCK_PAGES]> {
        self.blocks
            .get(&(pfn.0 / BLOCK_PAGES as u64))
            .map(Box::as_ref)
    }

    fn protected(&self) -> Pfn {
        self.protected
    }
}

impl Memory for Pages {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage> {
        let peeks_left = self.peeks_left.get().checked_sub(1);
        self.peeks_left
            .set(peeks_left.ok_or(Damage::Address { at })?);
        if !is_readable(self, at) || into.len() > PAGE_SIZE {
            return Err(Damage::Address { at });
        }
        let content = &self.pieces[&at.0].content;
        let len = content.len().min(into.len());
        into.fill(0);
        into[..len].copy_from_slice(&content[..len]);
        Ok(())
    }
}

impl ClaimMemory for Pages {
    type Pages = Vec<u8>;
    /// The address and order of each folio.
    type Folios<'a> = Vec<(u64, u32)>;

    fn max_folio_order(&self) -> Order {
        Order::new(9).unwrap()
    }

    fn claim_pages(&self, at: PhysAddr, order: Order) -> Result<Vec<u8>, Damage> {
        let pfn = claimable(self, at, order).ok_or(Damage::Address { at })?;
        assert_eq!(self.restore(pfn), order);
        let piece = self.pieces.get(&at.0);
        let mut content = piece.map_or(vec![], |piece| piece.content.clone());
        content.resize(PAGE_SIZE << order.get(), 0);
        Ok(content)
    }

    fn claim_run(
        &self,
        mut run: FoundRun<'_>,
        place: &FolioRun,
        visit: &mut impl FnMut(Vec<(u64, u32)>, &FolioRun),
    ) -> Result<(), Damage> {
        let order = run.order();
        let mut folios = Vec::new();
        while let Some(part) = run.next_part() {
            let claimable = part.claimable(self);
            for pfn in part.frames().take(claimable) {
                assert_eq!(self.restore(pfn), order);
                folios.push((pfn.addr().0, order.get().into()));
            }
            if claimable < part.len() {
                return Err(part.damage(claimable));
            }
        }
        visit(folios, place);
        Ok(())
    }
}
