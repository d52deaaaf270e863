// SPDX-License-Identifier: GPL-2.0-only

//! Memory that a test makes up, with the marks that KHO would have written for it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use crate::abi::{
    array::FoundRun,
    marks::{claimable, is_readable, MarkedPage, PageMap},
    units::{Order, Pfn, BLOCK_PAGES},
    ClaimMemory, Damage, Memory, PhysAddr, PAGE_SIZE,
};

/// `private` of a page.
#[derive(Clone)]
pub(crate) struct Page(Cell<u64>);

impl MarkedPage for Page {
    fn private(&self) -> u64 {
        self.0.get()
    }
}

/// What KHO writes to `private` of the first page of a piece.
pub(crate) fn mark(order: u32) -> u64 {
    0x4b48_4f50 << 32 | u64::from(order)
}

/// The pieces that were handed over, by address. All other memory was not.
pub(crate) struct Pages {
    pieces: BTreeMap<u64, Piece>,
    /// `private` of all pages in the blocks of memory that there are, by number of the block.
    blocks: BTreeMap<u64, Vec<Page>>,
    /// What was claimed, in order.
    claimed: RefCell<Vec<(Pfn, Order)>>,
    /// How many more looks there may be before nothing can be seen.
    looks: Cell<usize>,
    protected: Pfn,
}

/// Adjacent pages that begin with `content` and go on with zeroes.
struct Piece {
    content: Vec<u8>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            blocks: BTreeMap::new(),
            claimed: RefCell::default(),
            looks: Cell::new(usize::MAX),
            protected: Pfn::NULL,
        }
    }
}

impl Pages {
    /// Makes `at` the start of a page with `content`.
    pub(crate) fn put(&mut self, at: u64, content: &[u8]) {
        self.put_order(at, 0, content);
    }

    /// Makes `at` the start of `1 << order` pages with `content`.
    pub(crate) fn put_order(&mut self, at: u64, order: u32, content: &[u8]) {
        let content = content.to_vec();
        self.pieces.insert(at, Piece { content });
        self.set_private(Pfn(at / PAGE_SIZE as u64), mark(order));
    }

    /// Adds the block that `pfn` is in, and sets `private` of that page.
    pub(crate) fn set_private(&mut self, pfn: Pfn, private: u64) {
        let empty = || vec![Page(Cell::new(0)); BLOCK_PAGES];
        let block = self.blocks.entry(pfn.0 / BLOCK_PAGES as u64);
        block.or_insert_with(empty)[pfn.slot()].0.set(private);
    }

    /// Makes `pfn` the frame of the root.
    pub(crate) fn protect(&mut self, pfn: Pfn) {
        self.protected = pfn;
    }

    /// Forgets the piece at `at`.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, at: u64) {
        self.pieces.remove(&at);
        self.set_private(Pfn(at / PAGE_SIZE as u64), 0);
    }

    /// How many pieces there are.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// How many pieces were not claimed.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.len() - self.claimed.borrow().len()
    }

    /// What was claimed, in order.
    pub(crate) fn claimed(&self) -> Vec<(Pfn, Order)> {
        self.claimed.borrow().clone()
    }

    /// After `looks` more looks, nothing can be seen.
    pub(crate) fn limit(&self, looks: usize) {
        self.looks.set(looks);
    }

    /// `private` of a page, if there is such a page.
    pub(crate) fn private(&self, pfn: Pfn) -> Option<u64> {
        Some(self.block(pfn)?[pfn.slot()].private())
    }

    /// Does what KHO does to the mark of a piece that it restores.
    fn restore(&self, pfn: Pfn) -> Order {
        let page = &self.block(pfn).unwrap()[pfn.slot()];
        let order = Order::new(page.0.replace(0) & 0xffff_ffff).unwrap();
        self.claimed.borrow_mut().push((pfn, order));
        order
    }
}

impl PageMap for Pages {
    type Page = Page;

    fn block(&self, pfn: Pfn) -> Option<&[Page]> {
        let block = self.blocks.get(&(pfn.0 / BLOCK_PAGES as u64))?;
        Some(block.as_slice())
    }

    fn protected(&self) -> Pfn {
        self.protected
    }
}

impl Memory for Pages {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage> {
        let looks = self.looks.get().checked_sub(1);
        self.looks.set(looks.ok_or(Damage::Address { at })?);
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
    /// The address and order of each.
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
        run: FoundRun<'_>,
        visit: impl FnOnce(Vec<(u64, u32)>),
    ) -> Result<(), Damage> {
        let order = run.order();
        let mut folios = Vec::new();
        run.claim_each(self, |pfn| {
            assert_eq!(self.restore(pfn), order);
            folios.push((pfn.addr().0, order.get().into()));
            true
        })
        .map_err(|failed| {
            assert_eq!(failed.count, folios.len());
            Damage::Address {
                at: failed.pfn.addr(),
            }
        })?;
        visit(folios);
        Ok(())
    }
}
