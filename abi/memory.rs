// SPDX-License-Identifier: GPL-2.0-only

//! Addresses of the previous kernel, and the two ways to the memory there: a copy, or a claim.

use core::fmt;

use super::{
    array::{
        FolioRun,
        FoundRun, //
    },
    marks::PageMap,
    units::Order,
    Damage,
    Record,
    PAGE_SIZE, //
};

/// The largest record that is read on its own, in bytes.
pub(crate) const MAX_RECORD: usize = 64;

/// A physical address.
///
/// Only a [`Memory`] turns it into bytes. An address that the previous kernel wrote must not be
/// trusted before KHO says that it kept the memory there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhysAddr(pub u64);

impl PhysAddr {
    /// Whether this is the null address, which ends chains.
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether the address is the start of a page.
    pub(crate) fn is_page_aligned(self) -> bool {
        self.0 & (PAGE_SIZE as u64 - 1) == 0
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The memory that the previous kernel handed over, to be read.
pub(crate) trait Memory {
    /// Copies the first bytes, at most a page, of the piece that begins at `at`.
    ///
    /// It is a copy because another task may claim the piece a moment later.
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage>;

    /// Copies the record at `at`, which must be the start of a piece.
    fn record<R: Record>(&self, at: PhysAddr) -> Result<R, Damage> {
        let mut bytes = [0; MAX_RECORD];
        if at.is_null() || !at.is_page_aligned() {
            return Err(Damage::Address { at });
        }
        let into = bytes.get_mut(..R::SIZE).ok_or(Damage::Address { at })?;
        self.peek(at, into)?;
        Ok(R::load(into))
    }
}

/// The memory that the previous kernel handed over, to be owned. Each piece can be claimed once.
///
/// An implementation must make all claims in a block of the largest order under one lock: KHO checks
/// and clears its marks without one. Pieces that overlap are in one block.
pub(crate) trait ClaimMemory: PageMap {
    /// Pages that were claimed, and their content. Dropping them frees them.
    type Pages: AsRef<[u8]>;
    /// Folios of one order that were claimed. Dropping them frees them.
    type Folios<'a>;

    /// The order of the largest folio that a file of the previous kernel can have had.
    fn max_folio_order(&self) -> Order;

    /// Claims the piece of this order at `at` as single pages.
    fn claim_pages(&self, at: PhysAddr, order: Order) -> Result<Self::Pages, Damage>;

    /// Claims the folios of `run`, which belong at `place`, and passes them to `visit` with the part
    /// of `place` that they fill. If one of them was claimed meanwhile, or overlaps another piece,
    /// those before it are freed or were passed on.
    fn claim_run(
        &self,
        run: FoundRun<'_>,
        place: &FolioRun,
        visit: &mut impl FnMut(Self::Folios<'_>, &FolioRun),
    ) -> Result<(), Damage>;
}
