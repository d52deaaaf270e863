// SPDX-License-Identifier: GPL-2.0-only

//! Where a folio may lie in a file.

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

/// Checks each folio of a file by itself. Folios may come in any order, and may overlap: see
/// [the array](super).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// Each folio begins before this page, and the last one may reach over it.
    pub(super) end: PageIndex,
    max_order: Order,
}

impl Placement {
    /// For folios of at most `max_order`, of a file that ends at `end`.
    pub(crate) fn new(end: PageIndex, max_order: Order) -> Self {
        Self { end, max_order }
    }

    /// Checks the order, the index and the flags of a folio.
    pub(crate) fn check(&self, entry: &FolioEntry, order: Order) -> Result<(), Damage> {
        if order > self.max_order {
            return Err(Damage::FolioOrder {
                order: order.get().into(),
            });
        }
        if entry.index >= self.end || !entry.index.is_aligned(order) {
            return Err(Damage::FolioIndex {
                index: entry.index.0,
            });
        }
        if entry.flags() & !(FOLIO_DIRTY | FOLIO_UPTODATE) != 0 {
            return Err(Damage::Flags {
                flags: entry.flags(),
            });
        }
        Ok(())
    }
}
