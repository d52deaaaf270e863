// SPDX-License-Identifier: GPL-2.0-only

//! Claims the folios of a run: as they were, or page by page.
//!
//! A kernel without transparent huge pages may be able to keep large folios in the page cache, but
//! not to split or to swap them. There the pieces are claimed as single pages, which KHO allows: its
//! mark says how many pages a piece has, not what they were.

use core::mem::MaybeUninit;

use super::{
    bindings,
    claimed::ClaimedFolios,
    handover::Handover, //
};
use crate::abi::{
    array::{
        FolioRun,
        FoundRun,
        MAX_RUN, //
    },
    ClaimMemory,
    Damage, //
};

impl Handover {
    /// See [`ClaimMemory::claim_run`].
    ///
    /// # Context
    ///
    /// May sleep. Takes the locks of the blocks, one after the other.
    pub(super) fn claim_folios(
        &self,
        mut run: FoundRun<'_>,
        place: &FolioRun,
        visit: &mut impl FnMut(ClaimedFolios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let order = run.order();
        let mut addresses = [const { MaybeUninit::<u64>::uninit() }; MAX_RUN];
        let mut folios = [const { MaybeUninit::<*mut bindings::folio>::uninit() }; MAX_RUN];
        let mut result = Ok(());
        let mut claimed = 0;
        while let (Ok(()), Some(part)) = (result, run.next_part()) {
            let free = folios.get_mut(claimed..).unwrap_or_default();
            let guard = self.claims.lock(part.first());
            let claimable = part.claimable(self).min(free.len());
            for (address, pfn) in Iterator::zip(addresses.iter_mut(), part.frames()) {
                address.write(pfn.addr().0);
            }
            // Other users of KHO claim what they preserved; an address that leads there is damage
            // that nothing can tell from honest data (docs/format.md).
            // SAFETY: There is space for `claimable` folios, and as many addresses were written, of
            // which there are as many as `folios`. `claimable` has found the marks of pieces there,
            // each of which shares no page with another. By the type invariant the lock excludes
            // all other claims of this module in their block.
            let restored = unsafe {
                bindings::lu_restore_folios(
                    addresses.as_ptr().cast(),
                    free.as_mut_ptr().cast(),
                    claimable as u32,
                )
            } as usize;
            drop(guard);
            claimed += restored;
            if restored < part.len() {
                result = Err(part.damage(restored));
            }
        }
        // SAFETY: The first `claimed` were written, in order.
        let folios =
            unsafe { core::slice::from_raw_parts_mut(folios.as_mut_ptr().cast(), claimed) };
        // SAFETY: KHO gives each folio back as one of the order in its mark, which is `order`, with
        // one reference. No page of it belongs to another folio.
        let folios = unsafe { ClaimedFolios::from_raw(folios, order) };
        result?;
        visit(folios, place);
        Ok(())
    }

    /// The same page by page. If a folio cannot be claimed, those before it were passed on.
    ///
    /// # Context
    ///
    /// As [`Handover::claim_folios`].
    pub(super) fn claim_as_pages(
        &self,
        mut run: FoundRun<'_>,
        place: &FolioRun,
        visit: &mut impl FnMut(ClaimedFolios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let order = run.order();
        let mut index = place.index;
        while let Some(part) = run.next_part() {
            for pfn in part.frames() {
                let pages = ClaimMemory::claim_pages(self, pfn.addr(), order)?;
                pages.into_folios(|folios| {
                    let run = FolioRun {
                        index,
                        pages: folios.len() as u64,
                        flags: place.flags,
                    };
                    index = index.after(run.pages);
                    visit(folios, &run);
                });
            }
        }
        Ok(())
    }
}
