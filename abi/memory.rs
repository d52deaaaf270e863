// SPDX-License-Identifier: GPL-2.0-only

//! Addresses of the previous kernel, and how their memory is read.

use core::fmt;

use super::{
    Damage,
    Record,
    PAGE_SIZE, //
};

/// No record that is read on its own is larger.
const MAX_RECORD: usize = 64;

/// A physical address.
///
/// Nothing but a [`Memory`] turns it into bytes: one that the previous kernel wrote is not to be
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
        self.0 % PAGE_SIZE as u64 == 0
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The memory that the previous kernel handed over.
pub(crate) trait Memory {
    /// Copies the first bytes at `at`, which must be where something handed over begins and must
    /// be covered by it.
    ///
    /// It is a copy because somebody else may claim that memory a moment later.
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Damage>;

    /// Copies the record at `at`, the start of a page.
    fn record<R: Record>(&self, at: PhysAddr) -> Result<R, Damage> {
        let mut bytes = [0; MAX_RECORD];
        if at.is_null() || !at.is_page_aligned() {
            return Err(Damage::Address { at });
        }
        self.peek(at, bytes.get_mut(..R::SIZE).ok_or(Damage::Address { at })?)?;
        Ok(R::load(&bytes))
    }
}

/// Memory that the previous kernel handed over, to be taken: each piece of it once.
pub(crate) trait ClaimMemory {
    /// Pages that were taken, and their content. Dropping them frees them.
    type Pages: AsRef<[u8]>;
    /// Folios that were taken. Dropping them frees them.
    type Folios<'a>;

    /// The order of the largest folio that a file can have.
    fn max_folio_order(&self) -> u32;

    /// Writes the order of what was handed over at each frame to `orders`: [`NO_ORDER`] where
    /// nothing was, or where nobody may claim it.
    fn orders(&self, frames: &[u64], orders: &mut [u8]);

    /// Takes the `1 << order` pages at `at`.
    fn claim_pages(&self, at: PhysAddr, order: u32) -> Result<Self::Pages, Damage>;

    /// Takes the folios at `frames`, whose `orders` [`ClaimMemory::orders`] has found, and gives
    /// them to `visit`: `N` of them at the most. If one is not there any more, those before it are
    /// freed.
    fn claim_folios<const N: usize>(
        &self,
        frames: &[u64],
        orders: &[u8],
        visit: impl FnOnce(Self::Folios<'_>),
    ) -> Result<(), Damage>;
}

/// Nothing was handed over there.
pub(crate) const NO_ORDER: u8 = 0xff;

/// How many folios are claimed at a time.
pub(crate) const MAX_FRAMES: usize = 64;
