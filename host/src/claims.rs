// SPDX-License-Identifier: GPL-2.0-only

//! Who owns a page after any sequence of claims: the checks of marks against a model of sets.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    abi::{
        memfd::{FolioEntry, Header, Memfd},
        units::{Order, PageIndex, Pfn, BLOCK_PAGES},
        vmalloc::FLAG_ALLOC,
        ClaimMemory, Memory, PhysAddr, Record, PAGE_SIZE,
    },
    memory::{mark, Pages},
};

/// The frames that an input can use: the first of two blocks, and some that are not there.
const FRAMES: u64 = 2 * BLOCK_PAGES as u64;

/// The frame of the list and the array page of a memfd that a claim makes up. They are in a block of
/// their own.
const CHUNK: u64 = 8 * BLOCK_PAGES as u64;
const ARRAY_PAGE: u64 = CHUNK + 1;

/// What must happen, said in ranges of frames.
struct Model {
    /// `private` of each frame where it is not 0.
    private: BTreeMap<u64, u64>,
    protected: u64,
    owned: Vec<Range<u64>>,
}

impl Model {
    /// The frames of the piece that begins at `pfn`, if one does, and its order.
    fn piece(&self, pfn: u64) -> Option<(u32, Range<u64>)> {
        let private = *self.private.get(&pfn)?;
        let order = (0..=10).find(|order| private == mark(*order))?;
        pfn.is_multiple_of(1 << order)
            .then(|| (order, pfn..pfn + (1 << order)))
    }

    /// The same, if it may be claimed.
    fn claimable(&self, pfn: u64) -> Option<(u32, Range<u64>)> {
        let (order, frames) = self.piece(pfn)?;
        let empty_inside = self.private.range(pfn + 1..frames.end).next().is_none();
        let covered = self.private.range(..pfn).any(|(other, _)| {
            let piece = self.piece(*other);
            piece.is_some_and(|(_, frames)| frames.contains(&pfn))
        });
        let allowed = pfn != 0 && pfn != self.protected;
        (allowed && empty_inside && !covered).then_some((order, frames))
    }

    /// Gives the piece at `pfn` to an owner. No frame can have two.
    fn own(&mut self, pfn: u64, frames: Range<u64>) {
        let overlap = |other: &Range<u64>| other.start < frames.end && frames.start < other.end;
        assert!(!self.owned.iter().any(overlap), "a frame has two owners");
        self.owned.push(frames);
        self.private.remove(&pfn);
    }
}

/// A memfd whose array names these frames, one after the other, with room for the largest folio
/// between any two.
fn memfd_of(memory: &mut Pages, frames: &[u64]) -> Memfd {
    let mut array_page = vec![0; PAGE_SIZE];
    for (i, pfn) in frames.iter().enumerate() {
        let index = PageIndex(i as u64 * 512);
        FolioEntry::new(Pfn(*pfn), 3, index).store(&mut array_page[i * FolioEntry::SIZE..]);
    }
    let mut chunk = vec![0; PAGE_SIZE];
    chunk[8..16].copy_from_slice(&Pfn(ARRAY_PAGE).addr().0.to_ne_bytes());
    memory.put(Pfn(CHUNK).addr().0, &chunk);
    memory.put(Pfn(ARRAY_PAGE).addr().0, &array_page);
    Memfd::new(Header {
        pos: 0,
        size: frames.len() as u64 * 512 * PAGE_SIZE as u64,
        seals: 0,
        flags: 0,
        nr_folios: frames.len() as u64,
        first: Pfn(CHUNK).addr().0,
        total_pages: 1,
        array_flags: FLAG_ALLOC,
        order: 0,
    })
    .expect("it is valid")
}

/// Claims the folios of a memfd that names `frames`, as far as the model says that it works.
fn claim_file(memory: &mut Pages, model: &mut Model, frames: &[u64]) {
    let memfd = memfd_of(memory, frames);
    let before = memory.claimed().len();
    let mut visited = Vec::new();
    let result = memfd.for_each_run(memory, |folios, _| {
        visited.extend(folios.iter().map(|(at, _)| at / PAGE_SIZE as u64));
    });
    // The chunk and the array page were claimed first.
    let claimed = memory.claimed().split_off(before + 2);
    let mut expected = frames.iter();
    for (pfn, order) in &claimed {
        assert_eq!(Some(&pfn.0), expected.next(), "claimed in order");
        let (its_order, frames) = model.claimable(pfn.0).expect("the model says that it may");
        assert_eq!(its_order, u32::from(order.get()));
        model.own(pfn.0, frames);
    }
    assert!(visited.len() <= claimed.len());
    match expected.next() {
        None => assert!(result.is_ok() && visited == frames),
        Some(next) => {
            assert!(result.is_err());
            // A file has no folio of order 10, whoever may claim it.
            let next = model.claimable(*next);
            assert!(next.is_none_or(|(order, _)| order == 10), "{frames:?}");
        }
    }
}

/// Any marks in two blocks, then any claims.
///
/// The input: the frame of the root, a number of marks, for each its frame and what it is, then
/// claims until the end.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut byte = || bytes.next();
    let frame = |high: u8, low: u8| u64::from(u16::from_ne_bytes([low, high])) % (FRAMES + 8);
    let (Some(high), Some(low), Some(count)) = (byte(), byte(), byte()) else {
        return;
    };
    let mut memory = Pages::default();
    let mut model = Model {
        private: BTreeMap::new(),
        protected: frame(high, low),
        owned: Vec::new(),
    };
    memory.protect(Pfn(model.protected));
    for first in [0, BLOCK_PAGES as u64] {
        memory.set_private(Pfn(first), 0);
    }
    for _ in 0..count {
        let (Some(high), Some(low), Some(what)) = (byte(), byte(), byte()) else {
            return;
        };
        let pfn = frame(high, low) % FRAMES;
        // Most are marks of an order that a piece can have, some are not, some no marks at all.
        let private = match what {
            0..=230 => mark(u32::from(what) % 11),
            231..=240 => mark(u32::from(what) - 220),
            241..=245 => mark(u32::MAX),
            what => u64::from(what),
        };
        memory.put_order(Pfn(pfn).addr().0, 0, &[what]);
        memory.set_private(Pfn(pfn), private);
        model.private.insert(pfn, private);
    }
    while let (Some(what), Some(high), Some(low)) = (byte(), byte(), byte()) {
        let pfn = frame(high, low);
        let at = Pfn(pfn).addr();
        match what % 4 {
            0 => {
                let mut first = [0];
                let peeked = memory.peek(at, &mut first);
                assert_eq!(peeked.is_ok(), model.piece(pfn).is_some());
            }
            1 => {
                let order = Order::new(u64::from(what) / 4 % 11).expect("at most 10");
                let expected = model
                    .claimable(pfn)
                    .filter(|(of_piece, _)| *of_piece == u32::from(order.get()));
                assert_eq!(memory.claim_pages(at, order).is_ok(), expected.is_some());
                if let Some((_, frames)) = expected {
                    model.own(pfn, frames);
                }
                let inside = PhysAddr(at.0 + 8);
                assert!(memory.claim_pages(inside, order).is_err());
            }
            2 => {
                // Neighbors.
                let frames: Vec<_> = (pfn..pfn + u64::from(what) / 4 + 1).collect();
                claim_file(&mut memory, &mut model, &frames);
            }
            _ => {
                // A neighbor, the same one again, and one far away.
                let frames = [pfn, pfn + 1, pfn, pfn ^ u64::from(what)];
                claim_file(&mut memory, &mut model, &frames);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(order: u8) -> Order {
        Order::new(order.into()).unwrap()
    }

    fn claims(marks: &[(u64, u64)], pfn: u64, of: u8) -> bool {
        let mut memory = Pages::default();
        for (pfn, private) in marks {
            memory.set_private(Pfn(*pfn), *private);
        }
        memory.claim_pages(Pfn(pfn).addr(), order(of)).is_ok()
    }

    #[test]
    fn alone() {
        assert!(claims(&[(16, mark(2))], 16, 2));
        assert!(!claims(&[(16, mark(2))], 16, 1), "another order");
        assert!(!claims(&[(18, mark(2))], 18, 2), "not aligned");
        assert!(
            !claims(&[(16, mark(11))], 16, 2),
            "an order that no piece has"
        );
        assert!(!claims(&[(16, mark(u32::MAX))], 16, 2), "no order");
        assert!(!claims(&[(0, mark(0))], 0, 0), "the null frame");
    }

    #[test]
    fn pieces_that_overlap() {
        for inner in 17..24 {
            let marks = [(16, mark(3)), (inner, mark(0))];
            assert!(!claims(&marks, 16, 3), "{inner} is inside");
            assert!(!claims(&marks, inner, 0), "{inner} is covered");
        }
        let marks = [(16, mark(3)), (24, mark(0)), (15, mark(0))];
        for (pfn, of) in [(15, 0), (16, 3), (24, 0)] {
            assert!(claims(&marks, pfn, of), "neighbors do not overlap");
        }
        // The last page of the largest block, and its last inner page.
        assert!(!claims(&[(1024, mark(10)), (2047, 1)], 1024, 10));
        assert!(!claims(&[(1024, mark(10)), (2047, mark(0))], 2047, 0));
        assert!(claims(&[(1024, mark(10)), (2048, mark(0))], 1024, 10));
    }

    #[test]
    fn the_root_and_what_was_claimed() {
        let mut memory = Pages::default();
        memory.set_private(Pfn(16), mark(0));
        memory.set_private(Pfn(17), mark(0));
        memory.protect(Pfn(16));
        let claim = |pfn| memory.claim_pages(Pfn(pfn).addr(), Order::PAGE).is_ok();
        assert!(!claim(16));
        assert!(claim(17));
        assert!(!claim(17));
    }

    /// A neighbor of a page that was claimed needs no look at what covers it, but another page does.
    #[test]
    fn neighbors_in_a_file() {
        let file = |marks: &[(u64, u64)], frames: &[u64]| {
            let mut memory = Pages::default();
            for (pfn, private) in marks {
                memory.set_private(Pfn(*pfn), *private);
            }
            let memfd = memfd_of(&mut memory, frames);
            memfd.for_each_run(&memory, |_, _| ()).is_ok()
        };
        let small: Vec<_> = (16..20).map(|pfn| (pfn, mark(0))).collect();
        assert!(file(&small, &[16, 17, 18, 19]));
        assert!(file(&small, &[19, 18, 17, 16]));
        assert!(!file(&small, &[16, 17, 16]));
        let mut covered = small.clone();
        covered.push((16 - 16, mark(5)));
        assert!(!file(&covered, &[16, 17]));
        let huge = [(32, mark(5)), (64, mark(5)), (70, mark(0))];
        assert!(!file(&huge, &[32, 64]));
        assert!(file(&huge[..2], &[32, 64]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn no_page_has_two_owners(data in prop::collection::vec(any::<u8>(), 0..200)) {
            run(&data);
        }

        /// Few frames and small pieces, so that they meet.
        #[test]
        fn no_page_has_two_owners_when_crowded(
            marks in prop::collection::vec((0..32u8, 0..230u8), 1..20),
            claims in prop::collection::vec((any::<u8>(), 0..32u8), 1..20),
        ) {
            let mut data = vec![0, 7, marks.len() as u8];
            data.extend(marks.iter().flat_map(|(pfn, what)| [0, *pfn, what % 44]));
            data.extend(claims.iter().flat_map(|(what, pfn)| [*what, 0, *pfn]));
            run(&data);
        }
    }
}
