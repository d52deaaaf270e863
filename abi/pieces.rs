// SPDX-License-Identifier: GPL-2.0-only

//! In how many pieces memory is handed over, which is what an unpatched next kernel pays for.
//!
//! The next kernel reserves what it takes over in memblock, folio by folio. memblock merges folios
//! that are adjacent into one region, and looks at every region for each folio that it adds. So the
//! boot takes a time that grows with the square of the number of regions, and hardly depends on the
//! number of folios. A kernel with our patches for it marks pages instead, and needs no such time.
//!
//! [`Pieces`] counts those regions from above. It sees folios once, in the order in which they are
//! preserved, and keeps the last run of adjacent ones. A folio at either end of that run belongs to
//! it; any other begins a piece. To find that two pieces are adjacent would need a map of all
//! memory. So a file that was filled in random order can count as more pieces than it has.

use super::units::{
    PageIndex,
    Pfn, //
};

/// How many pieces an unpatched kernel can take over in about a second.
///
/// Measured with a clock that counts instructions (`bench/bench.py`), the boot of such a kernel took
/// 3.8 to 5.5 s with 16,384 pieces, and 16.5 to 22 s with 32,768. That is 14 to 21 ns for the square
/// of the number, so that a second is enough for 6,900 to 8,500 pieces.
const PER_SECOND: u64 = 7_500;

/// Frames of adjacent pages. Without pages, it is adjacent to nothing: no piece begins or ends at
/// frame 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    start: u64,
    end: u64,
}

impl Run {
    /// Adds `other` if it is adjacent, and returns whether it is.
    #[inline]
    fn grow(&mut self, other: Self) -> bool {
        if other.start == self.end {
            self.end = other.end;
            return true;
        }
        let before = other.end == self.start;
        if before {
            self.start = other.start;
        }
        before
    }
}

/// The number of pieces of some memory: at least that of its runs of adjacent pages.
///
/// # Invariants
///
/// `last` is the last run, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    count: u64,
    last: Run,
}

impl Pieces {
    /// How many pieces there are.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// By how many seconds these pieces can delay the boot of an unpatched kernel, rounded down.
    pub(crate) fn boot_seconds(&self) -> u64 {
        self.count.saturating_mul(self.count) / (PER_SECOND * PER_SECOND)
    }

    /// Adds `pages` pages from frame `start` on, which are not in there yet.
    #[inline]
    pub(crate) fn add(&mut self, start: Pfn, pages: u64) {
        self.add_run(Run {
            start: start.0,
            end: start.0.wrapping_add(pages),
        });
    }

    #[inline]
    fn add_run(&mut self, run: Run) {
        if !self.last.grow(run) {
            // INVARIANT: It becomes the last run.
            self.count += 1;
            self.last = run;
        }
    }

    /// Adds other memory after this. If that is a single piece and adjacent to the last run here,
    /// they are one.
    #[inline]
    pub(crate) fn join(&mut self, other: &Self) {
        match other.count {
            0 => (),
            1 => self.add_run(other.last),
            count => {
                // INVARIANT: As it is the last one of `other`.
                self.count += count;
                self.last = other.last;
            }
        }
    }

    /// Adds `count` pieces of memory that was added to a part of this.
    pub(crate) fn add_elsewhere(&mut self, count: u64) {
        self.count += count;
    }
}

/// Counts folios that follow each other in a file, without a hole between them.
///
/// Such folios are adjacent in memory too if frame number and index differ by the same number. So
/// one comparison is enough for each, and its size need not be known.
pub(crate) struct FolioPieces {
    pieces: Pieces,
    /// Where the current run begins in the file.
    index: PageIndex,
    /// What its frame numbers are beyond the indexes.
    offset: u64,
}

impl FolioPieces {
    /// Continues `pieces` with folios, of which the first begins at frame `start` and at page `index`
    /// of the file.
    #[inline]
    pub(crate) fn new(pieces: Pieces, start: Pfn, index: PageIndex) -> Self {
        Self {
            pieces,
            index,
            offset: start.0.wrapping_sub(index.0),
        }
    }

    /// The next folio, or the first one once more.
    #[inline]
    pub(crate) fn next(&mut self, start: Pfn, index: PageIndex) {
        let offset = start.0.wrapping_sub(index.0);
        if offset != self.offset {
            self.end_run(index);
            (self.index, self.offset) = (index, offset);
        }
    }

    fn end_run(&mut self, end: PageIndex) {
        let start = Pfn(self.index.0.wrapping_add(self.offset));
        self.pieces.add(start, end.0.saturating_sub(self.index.0));
    }

    /// All pieces, if the last folio ends before page `end` of the file.
    #[inline]
    pub(crate) fn finish(mut self, end: PageIndex) -> Pieces {
        self.end_run(end);
        self.pieces
    }
}
