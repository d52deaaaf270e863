// SPDX-License-Identifier: GPL-2.0-only

//! Units of memory: frame numbers, offsets in a file and sizes, so that no one is taken for another.

use core::ops::Range;

use super::{
    record::Field,
    PhysAddr,
    PAGE_SIZE, //
};

/// The order of the largest piece of memory that the page allocator, and so KHO, knows.
pub(crate) const MAX_PAGE_ORDER: u8 = 10;

/// The number of pages in a block of the largest order.
pub(crate) const BLOCK_PAGES: usize = 1 << MAX_PAGE_ORDER;

/// A page frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Pfn(pub u64);

impl Pfn {
    /// The number of the first frame, which is never handed over.
    pub(crate) const NULL: Self = Self(0);

    /// The frame that begins at `at`, if one does.
    pub(crate) fn at(at: PhysAddr) -> Option<Self> {
        at.is_page_aligned()
            .then_some(Self(at.0 / PAGE_SIZE as u64))
    }

    /// The address of the frame. A frame number has at most 52 bits, so that an address does not
    /// wrap around.
    #[inline]
    pub(crate) fn addr(self) -> PhysAddr {
        PhysAddr(self.0.wrapping_mul(PAGE_SIZE as u64))
    }

    /// The number of the block of the largest order that the frame is in.
    #[inline]
    pub(crate) fn block(self) -> u64 {
        self.0 >> MAX_PAGE_ORDER
    }

    /// Whether a piece of this order may begin here.
    #[inline]
    pub(super) fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.pages() - 1) == 0
    }

    /// The position of the frame in that block, in pages.
    #[inline]
    pub(crate) fn slot(self) -> usize {
        self.0 as usize & (BLOCK_PAGES - 1)
    }
}

/// An offset in a file, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct PageIndex(pub u64);

impl PageIndex {
    /// The first page of a file.
    pub(crate) const START: Self = Self(0);

    /// The page of a file after its last byte: its size in pages, rounded up.
    pub(crate) fn end_of(bytes: u64) -> Self {
        Self(bytes.div_ceil(PAGE_SIZE as u64))
    }

    /// The page `pages` after this one, or the last possible one.
    #[inline]
    pub(crate) fn after(self, pages: u64) -> Self {
        Self(self.0.saturating_add(pages))
    }

    /// Whether a folio of this order may begin here.
    #[inline]
    pub(crate) fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.pages() - 1) == 0
    }
}

/// The number of pages in `range`.
pub(crate) fn pages_in(range: &Range<PageIndex>) -> u64 {
    range.end.0.saturating_sub(range.start.0)
}

impl Field for PageIndex {
    const SIZE: usize = u64::SIZE;

    #[inline]
    fn load(bytes: &[u8]) -> Self {
        Self(u64::load(bytes))
    }

    #[inline]
    fn store(&self, bytes: &mut [u8]) {
        self.0.store(bytes);
    }
}

/// The binary logarithm of a number of pages.
///
/// # Invariants
///
/// It is at most [`MAX_PAGE_ORDER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(u8);

impl Order {
    /// A single page.
    pub(crate) const PAGE: Self = Self(0);

    /// `None` if nothing can be that large.
    #[inline]
    pub(crate) fn new(order: u64) -> Option<Self> {
        // INVARIANT: The order was compared.
        (order <= u64::from(MAX_PAGE_ORDER)).then_some(Self(order as u8))
    }

    /// The same as a number.
    #[inline]
    pub(crate) fn get(self) -> u8 {
        self.0
    }

    /// How many pages that is.
    #[inline]
    pub(crate) fn pages(self) -> u64 {
        // By the invariant the mask changes nothing, but it spares a check for overflow.
        1 << (self.0 & 63)
    }
}
