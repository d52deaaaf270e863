// SPDX-License-Identifier: GPL-2.0-only

//! Where folios may lie in a file.

use core::ops::Range;

use crate::abi::{
    memfd::{
        FolioEntry,
        FOLIO_DIRTY,
        FOLIO_UPTODATE, //
    },
    units::{
        Order,
        PageIndex, //
    },
    Damage, //
};

/// Checks that folios follow each other in the file, and lie where they may.
#[derive(Debug)]
pub(crate) struct Placement {
    /// No folio may begin before this page, or at `end` or after it.
    pub(super) next: PageIndex,
    pub(super) end: PageIndex,
    /// Whether the last folio may reach over `end`, as the one with the end of the file may.
    reaches_over: bool,
    max_order: Order,
}

impl Placement {
    /// For folios of at most `max_order` that lie within `range`.
    pub(crate) fn within(range: Range<PageIndex>, max_order: Order) -> Self {
        Self {
            next: range.start,
            end: range.end,
            reaches_over: false,
            max_order,
        }
    }

    /// As [`Placement::within`], for a `range` that ends where the file does.
    pub(crate) fn to_the_end(range: Range<PageIndex>, max_order: Order) -> Self {
        Self {
            reaches_over: true,
            ..Self::within(range, max_order)
        }
    }

    /// Whether a folio that begins at `index` and ends before `after` lies before the end.
    #[inline]
    fn fits(&self, index: PageIndex, after: PageIndex) -> bool {
        index < self.end && (after <= self.end || self.reaches_over)
    }

    /// Accepts the next folio, which is of this order; the place after it is the next one.
    pub(crate) fn place(&mut self, entry: &FolioEntry, order: Order) -> Result<(), Damage> {
        if order > self.max_order {
            return Err(Damage::FolioOrder {
                order: order.get().into(),
            });
        }
        let index = entry.index;
        let after = index.after(order.pages());
        if index < self.next || !self.fits(index, after) || !index.is_aligned(order) {
            return Err(Damage::FolioIndex { index: index.0 });
        }
        if entry.flags() & !(FOLIO_DIRTY | FOLIO_UPTODATE) != 0 {
            return Err(Damage::Flags {
                flags: entry.flags(),
            });
        }
        self.next = after;
        Ok(())
    }
}
