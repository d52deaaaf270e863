// SPDX-License-Identifier: GPL-2.0-only

//! Where a file that is preserved has no preserved folios.
//!
//! A page that comes into a file after preserve lies in such a gap, so freeze looks nowhere else.

use core::ops::Range;

use kernel::prelude::*;

use crate::abi::units::PageIndex;

/// Pages of a file, from `start` to before `end`. 8 bytes, so that a list that has grown to twice its
/// length needs at most 16 bytes for each gap, and so for each folio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    start: u32,
    end: u32,
}

impl Gap {
    /// `None` if the file is too large.
    fn new(range: &Range<PageIndex>) -> Option<Self> {
        Some(Self {
            start: range.start.0.try_into().ok()?,
            end: range.end.0.try_into().ok()?,
        })
    }

    fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// The gaps of a file, in any order. Neither two of them overlap, nor a gap and a preserved folio.
///
/// A file without holes, or with one, needs no list.
pub(crate) struct Gaps {
    /// May be empty.
    first: Gap,
    /// None is empty.
    more: KVVec<Gap>,
}

impl Gaps {
    /// One gap, which is all of a file that ends at `end`. `EFBIG` for more than 2^32-1 pages.
    pub(super) fn whole(end: PageIndex) -> Result<Self> {
        Ok(Self {
            first: Gap::new(&(PageIndex::START..end)).ok_or(EFBIG)?,
            more: KVVec::new(),
        })
    }

    /// Whether there is no gap.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }

    /// The number of gaps, empty ones included.
    pub(super) fn len(&self) -> usize {
        1 + self.more.len()
    }

    /// Gap `nr`; an empty one if there is no such gap.
    pub(super) fn get(&self, nr: usize) -> Range<PageIndex> {
        let gap = match nr.checked_sub(1) {
            None => self.first,
            Some(at) => self.more.get(at).copied().unwrap_or_default(),
        };
        PageIndex(gap.start.into())..PageIndex(gap.end.into())
    }

    /// Replaces gap `nr`, of which `left` is left. If that is nothing, the last gap gets the number:
    /// a loop over all gaps starts with the last.
    pub(super) fn set(&mut self, nr: usize, left: &Range<PageIndex>) {
        let gap = Gap::new(left).unwrap_or_default();
        let Some(at) = nr.checked_sub(1) else {
            self.first = gap;
            return;
        };
        let gap = match gap.is_empty() {
            true => self.more.pop().unwrap_or_default(),
            false => gap,
        };
        // There is no such gap if the last one was taken away.
        if let Some(slot) = self.more.get_mut(at) {
            *slot = gap;
        }
    }

    /// Adds a gap, which the caller cuts off from one that is there. `ENOMEM`.
    pub(super) fn add(&mut self, range: &Range<PageIndex>) -> Result {
        let gap = Gap::new(range).ok_or(EFBIG)?;
        Ok(self.more.push(gap, GFP_KERNEL_ACCOUNT)?)
    }
}

#[kunit_tests(liveupdate_gaps)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Range<PageIndex> {
        PageIndex(start)..PageIndex(end)
    }

    #[test]
    fn gaps_shrink_and_vanish() {
        let Ok(mut gaps) = Gaps::whole(PageIndex(100)) else {
            return assert!(false);
        };
        assert_eq!(gaps.get(0), range(0, 100));
        // Folios at 10 to 20, and at 50 to 100.
        assert!(gaps.add(&range(0, 10)).is_ok() && gaps.add(&range(20, 50)).is_ok());
        gaps.set(0, &range(100, 100));
        assert_eq!((gaps.len(), gaps.is_empty()), (3, false));
        // The last one takes the place of one that is filled.
        gaps.set(1, &range(10, 10));
        assert_eq!((gaps.len(), gaps.get(1)), (2, range(20, 50)));
        gaps.set(1, &range(30, 50));
        assert_eq!(gaps.get(1), range(30, 50));
        gaps.set(1, &range(50, 50));
        assert_eq!((gaps.len(), gaps.is_empty()), (1, true));
        assert!(gaps.get(1).is_empty() && gaps.get(7).is_empty());
    }

    #[test]
    fn file_has_at_most_32_bits_of_pages() {
        assert!(Gaps::whole(PageIndex(u32::MAX.into())).is_ok());
        assert!(Gaps::whole(PageIndex(1 << 32)).is_err());
        assert!(Gaps::whole(PageIndex(0)).is_ok_and(|gaps| gaps.is_empty()));
    }
}
