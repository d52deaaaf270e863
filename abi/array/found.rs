// SPDX-License-Identifier: GPL-2.0-only

//! The folios that entries of the array name: first found, then claimed in runs.
//!
//! [`Found`] can only be made by a look at the marks of KHO, and a [`FoundRun`] only from it, by the
//! checks of [`Placement`]. Claiming consumes the run, so nothing can be claimed with an order or at
//! an index that was not checked.

use super::Placement;
use crate::abi::{
    marks::{
        begins,
        is_claimable,
        Blocks,
        PageMap, //
    },
    memfd::FolioEntry,
    units::{
        Order,
        PageIndex,
        Pfn, //
    },
    ClaimMemory,
    Damage,
    Record, //
};

/// How many folios are found, and at most claimed, at a time.
pub(crate) const MAX_RUN: usize = 64;

/// Folios that follow each other in a file, without a hole between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolioRun {
    /// Where the first folio begins in the file.
    pub(crate) index: PageIndex,
    /// How many pages all of them have.
    pub(crate) pages: u64,
    /// `FOLIO_*`, the same for all of them.
    pub(crate) flags: u64,
}

/// Entries of the array, and what was handed over at the frame that each names.
struct Found<'a> {
    /// At most [`MAX_RUN`] encoded entries.
    entries: &'a [u8],
    /// The order of the piece at each frame; [`Found::NOTHING`] for one that nobody may claim.
    orders: &'a [u8],
}

impl<'a> Found<'a> {
    const NOTHING: u8 = u8::MAX;

    /// Looks for the pieces that at most [`MAX_RUN`] `entries` name.
    #[inline]
    fn new(map: &impl PageMap, entries: &'a [u8], orders: &'a mut [u8; MAX_RUN]) -> Self {
        let protected = map.protected();
        let mut blocks = Blocks::new(map);
        for (order, entry) in orders
            .iter_mut()
            .zip(entries.chunks_exact(FolioEntry::SIZE))
        {
            let pfn = FolioEntry::load(entry).pfn();
            let found = blocks.order(pfn).map_or(Self::NOTHING, Order::get);
            *order = match pfn == Pfn::NULL || pfn == protected {
                true => Self::NOTHING,
                false => found,
            };
        }
        Self { entries, orders }
    }

    /// Takes the longest run from the start: folios of one order and the same flags that follow each
    /// other in the file. `None` if no entry is left.
    // This loop passes over all folios of a file. On its own, it can keep all it needs in registers.
    #[inline(never)]
    fn next_run(
        &mut self,
        placement: &Placement,
    ) -> Result<Option<(FoundRun<'a>, FolioRun)>, Damage> {
        let mut folios = Iterator::zip(
            self.entries
                .chunks_exact(FolioEntry::SIZE)
                .map(FolioEntry::load),
            self.orders.iter().copied(),
        );
        let Some((first, first_order)) = folios.next() else {
            return Ok(None);
        };
        let at = first.pfn().addr();
        let order = Order::new(first_order.into()).ok_or(Damage::Address { at })?;
        placement.check(&first, order)?;
        // After an aligned folio, those of the same order that follow without a hole are aligned.
        let start = first.index.after(order.pages());
        let fit = placement.end.0.saturating_sub(start.0) >> order.get();
        let mut next = start;
        let more = folios
            .take(fit as usize)
            .take_while(|(entry, its_order)| {
                let goes_on = *its_order == first_order
                    && entry.index == next
                    && entry.flags() == first.flags();
                if goes_on {
                    next = next.after(order.pages());
                }
                goes_on
            })
            .count();
        let run = FolioRun {
            index: first.index,
            pages: order.pages() + (next.0 - start.0),
            flags: first.flags(),
        };
        let count = 1 + more;
        let (entries, entries_left) = self
            .entries
            .split_at_checked(count * FolioEntry::SIZE)
            .unwrap_or_default();
        (self.entries, self.orders) = (entries_left, self.orders.get(count..).unwrap_or_default());
        Ok(Some((FoundRun { entries, order }, run)))
    }
}

/// Folios of one order that were found and not claimed yet.
pub(crate) struct FoundRun<'a> {
    /// Encoded entries, as many as folios are left: at most [`MAX_RUN`].
    entries: &'a [u8],
    order: Order,
}

impl<'a> FoundRun<'a> {
    /// The order of the folios.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Takes folios from the start: those in the block of the first one, as long as their frames
    /// ascend. `None` if no folio is left.
    pub(crate) fn next_part(&mut self) -> Option<FoundPart<'a>> {
        let mut last = frames(self.entries).next()?;
        let goes_on = |pfn: &Pfn| {
            let ascends = *pfn > last && pfn.block() == last.block();
            last = *pfn;
            ascends
        };
        let count = 1 + frames(self.entries).skip(1).take_while(goes_on).count();
        let (entries, left) = self.entries.split_at_checked(count * FolioEntry::SIZE)?;
        self.entries = left;
        Some(FoundPart {
            entries,
            order: self.order,
        })
    }
}

/// Folios of a run that are claimed together: their frames are in one block, and ascend. So no frame
/// is there twice, and one lock excludes all claims of memory that overlaps them.
pub(crate) struct FoundPart<'a> {
    /// Encoded entries, at least one.
    entries: &'a [u8],
    order: Order,
}

impl FoundPart<'_> {
    /// How many folios there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() / FolioEntry::SIZE
    }

    /// The first frame of each folio.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Pfn> + '_ {
        frames(self.entries)
    }

    /// A frame in the block.
    pub(crate) fn first(&self) -> Pfn {
        self.frames().next().unwrap_or(Pfn::NULL)
    }

    /// How many folios may be claimed, those at the start. This holds as long as the caller holds
    /// the lock that is held for every claim in the block.
    pub(crate) fn claimable(&self, map: &impl PageMap) -> usize {
        let Some(block) = map.block(self.first()) else {
            return 0;
        };
        // A larger piece that covers a page and starts before it covers the page before it too. So
        // the page after a single page that may be claimed is covered by no other piece.
        let mut neighbor = Pfn::NULL;
        let may_be_claimed = |pfn: &Pfn| {
            let claimable = match *pfn == neighbor {
                true => begins(block, *pfn, Order::PAGE),
                false => is_claimable(block, *pfn, self.order),
            };
            if self.order == Order::PAGE {
                neighbor = Pfn(pfn.0 + 1);
            }
            claimable
        };
        self.frames().take_while(may_be_claimed).count()
    }

    /// What is wrong if only the first `claimed` folios could be claimed.
    pub(crate) fn damage(&self, claimed: usize) -> Damage {
        let failed = self.frames().nth(claimed).unwrap_or(Pfn::NULL);
        Damage::Address { at: failed.addr() }
    }
}

/// The frames that encoded entries name.
fn frames(entries: &[u8]) -> impl Iterator<Item = Pfn> + '_ {
    entries
        .chunks_exact(FolioEntry::SIZE)
        .map(|entry| FolioEntry::load(entry).pfn())
}

/// Claims the folios of `entries`, in order, and passes them to `visit` in runs.
///
/// Stops at the first entry that is damaged. Those before it were claimed.
pub(super) fn claim_entries<M: ClaimMemory>(
    memory: &M,
    placement: &Placement,
    entries: &[u8],
    visit: &mut impl FnMut(M::Folios<'_>, &FolioRun),
) -> Result<(), Damage> {
    let mut orders = [Found::NOTHING; MAX_RUN];
    for entries in entries.chunks(MAX_RUN * FolioEntry::SIZE) {
        let mut found = Found::new(memory, entries, &mut orders);
        while let Some((run, place)) = found.next_run(placement)? {
            memory.claim_run(run, &place, visit)?;
        }
    }
    Ok(())
}
