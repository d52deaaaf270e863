// SPDX-License-Identifier: GPL-2.0-only

//! A map of pages that stands in for what KHO handed over.

use std::{cell::Cell, collections::BTreeMap};

use crate::abi::{memory::NO_ORDER, ClaimMemory, Damage, Memory, PhysAddr, PAGE_SIZE};

/// What was handed over by address; everything else was not.
pub(crate) struct Pages {
    pages: BTreeMap<u64, Piece>,
    /// How many more looks there may be before all of it is gone.
    looks: Cell<usize>,
}

/// Adjacent pages that begin with `content` and go on with zeroes.
struct Piece {
    content: Vec<u8>,
    order: u32,
    claimed: Cell<bool>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            looks: Cell::new(usize::MAX),
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
        let piece = Piece {
            content: content.to_vec(),
            order,
            claimed: Cell::new(false),
        };
        self.pages.insert(at, piece);
    }

    /// Forgets what is at `at`.
    #[cfg(test)]
    pub(crate) fn remove(&mut self, at: u64) {
        self.pages.remove(&at);
    }

    /// How many pieces there are.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// How many pieces were not claimed.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.pages.values().filter(|p| !p.claimed.get()).count()
    }

    /// After `looks` more looks, nothing can be seen.
    pub(crate) fn limit(&self, looks: usize) {
        self.looks.set(looks);
    }

    fn find(&self, at: PhysAddr) -> Result<&Piece, Damage> {
        self.pages
            .get(&at.0)
            .filter(|piece| !piece.claimed.get())
            .ok_or(Damage::Address { at })
    }

    /// As [`Pages::find`], but never at the null address.
    fn find_to_claim(&self, at: PhysAddr) -> Result<&Piece, Damage> {
        if at.is_null() {
            return Err(Damage::Address { at });
        }
        self.find(at)
    }

    /// The order of what is at `at`, if nobody has claimed it.
    pub(crate) fn order(&self, at: PhysAddr) -> Result<u32, Damage> {
        Ok(self.find_to_claim(at)?.order)
    }

    fn claim(&self, at: PhysAddr, order: u32) -> Result<&Piece, Damage> {
        let piece = self.find_to_claim(at)?;
        if piece.order != order {
            return Err(Damage::Address { at });
        }
        piece.claimed.set(true);
        Ok(piece)
    }
}

impl Memory for Pages {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage> {
        let looks = self
            .looks
            .get()
            .checked_sub(1)
            .ok_or(Damage::Address { at })?;
        self.looks.set(looks);
        let piece = self.find(at)?;
        if into.len() > PAGE_SIZE {
            return Err(Damage::Address { at });
        }
        let len = piece.content.len().min(into.len());
        into.fill(0);
        into[..len].copy_from_slice(&piece.content[..len]);
        Ok(())
    }
}

impl ClaimMemory for Pages {
    type Pages = Vec<u8>;
    /// The address and order of each.
    type Folios<'a> = Vec<(u64, u32)>;

    fn max_folio_order(&self) -> u32 {
        9
    }

    fn orders(&self, frames: &[u64], orders: &mut [u8]) {
        for (frame, order) in frames.iter().zip(orders) {
            *order = match self.find_to_claim(PhysAddr(frame * PAGE_SIZE as u64)) {
                Ok(piece) => piece.order as u8,
                Err(_) => NO_ORDER,
            };
        }
    }

    fn claim_pages(&self, at: PhysAddr, order: u32) -> Result<Vec<u8>, Damage> {
        let mut content = self.claim(at, order)?.content.clone();
        content.resize(PAGE_SIZE << order, 0);
        Ok(content)
    }

    fn claim_folios<const N: usize>(
        &self,
        frames: &[u64],
        orders: &[u8],
        visit: impl FnOnce(Vec<(u64, u32)>),
    ) -> Result<(), Damage> {
        assert!(frames.len() == orders.len() && (1..=N).contains(&frames.len()));
        let mut folios = Vec::new();
        for (frame, order) in frames.iter().zip(orders) {
            let at = PhysAddr(frame * PAGE_SIZE as u64);
            self.claim(at, (*order).into())?;
            folios.push((at.0, (*order).into()));
        }
        visit(folios);
        Ok(())
    }
}
