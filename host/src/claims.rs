// SPDX-License-Identifier: GPL-2.0-only

//! No page has two owners, whatever KHO marked and whatever is claimed, in any order.
//!
//! A model that keeps ranges of frames predicts the result of each claim.

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

/// The number of frames that an input can mark: those of the first two blocks. An input can also
/// claim a few frames after them, which no memory has.
const FRAMES: u64 = 2 * BLOCK_PAGES as u64;

/// The frame of the chunk of a generated memfd. The chunk and the array page are in a block of
/// their own, so that they overlap no piece of an input.
const CHUNK: u64 = 8 * BLOCK_PAGES as u64;
/// The frame of the array page of a generated memfd.
const ARRAY_PAGE: u64 = CHUNK + 1;

/// Predicts claims. It knows marks by frame, and owners by range of frames.
struct Model {
    /// `private` of each frame where it is not 0.
    private: BTreeMap<u64, u64>,
    /// The frame of the root, which nobody may claim.
    protected: u64,
    /// The frames of each claimed piece.
    owned: Vec<Range<u64>>,
}

impl Model {
    /// The order and frames of the piece that begins at `pfn`, if one does.
    fn piece(&self, pfn: u64) -> Option<(u32, Range<u64>)> {
        let private = *self.private.get(&pfn)?;
        let order = (0..=10).find(|order| private == mark(*order))?;
        pfn.is_multiple_of(1 << order)
            .then(|| (order, pfn..pfn + (1 << order)))
    }

    /// The order and frames of the piece that begins at `pfn`, if it may be claimed.
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

    /// Records that the piece at `pfn` has an owner, and checks that none of its frames had one.
    fn own(&mut self, pfn: u64, frames: Range<u64>) {
        let overlap = |other: &Range<u64>| other.start < frames.end && frames.start < other.end;
        assert!(!self.owned.iter().any(overlap), "a frame has two owners");
        self.owned.push(frames);
        self.private.remove(&pfn);
    }
}

/// A memfd whose array names these frames. Their indexes are 512 pages apart, so that a folio of
/// any order fits.
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
    .expect("the header is valid")
}

/// Claims the folios of a memfd that names `frames`, up to the first that the model does not allow.
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
        assert_eq!(Some(&pfn.0), expected.next(), "folios are claimed in order");
        let (piece_order, frames) = model.claimable(pfn.0).expect("the model allows the claim");
        assert_eq!(piece_order, u32::from(order.get()));
        model.own(pfn.0, frames);
    }
    assert!(visited.len() <= claimed.len());
    match expected.next() {
        None => assert!(result.is_ok() && visited == frames),
        Some(next) => {
            assert!(result.is_err());
            // A piece of order 10 may be claimed, but is too large for a folio.
            let next = model.claimable(*next);
            assert!(next.is_none_or(|(order, _)| order == 10), "{frames:?}");
        }
    }
}

/// Checks all claims of an input against the model.
///
/// The input: the frame of the root, the count of marks, the frame and kind of each mark, then
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
        let (Some(high), Some(low), Some(choice)) = (byte(), byte(), byte()) else {
            return;
        };
        let pfn = frame(high, low) % FRAMES;
        // Of 256 kinds, 231 are marks of a valid order, 15 are marks of an invalid order, and 10
        // are not marks.
        let private = match choice {
            0..=230 => mark(u32::from(choice) % 11),
            231..=240 => mark(u32::from(choice) - 220),
            241..=245 => mark(u32::MAX),
            choice => u64::from(choice),
        };
        memory.put_order(Pfn(pfn).addr().0, 0, &[choice]);
        memory.set_private(Pfn(pfn), private);
        model.private.insert(pfn, private);
    }
    while let (Some(choice), Some(high), Some(low)) = (byte(), byte(), byte()) {
        let pfn = frame(high, low);
        let at = Pfn(pfn).addr();
        match choice % 4 {
            0 => {
                let mut first = [0];
                let peeked = memory.peek(at, &mut first);
                assert_eq!(peeked.is_ok(), model.piece(pfn).is_some());
            }
            1 => {
                let order = Order::new(u64::from(choice) / 4 % 11).expect("at most 10");
                let expected = model
                    .claimable(pfn)
                    .filter(|(piece_order, _)| *piece_order == u32::from(order.get()));
                assert_eq!(memory.claim_pages(at, order).is_ok(), expected.is_some());
                if let Some((_, frames)) = expected {
                    model.own(pfn, frames);
                }
                let inside = PhysAddr(at.0 + 8);
                assert!(memory.claim_pages(inside, order).is_err());
            }
            2 => {
                // Adjacent frames.
                let frames: Vec<_> = (pfn..pfn + u64::from(choice) / 4 + 1).collect();
                claim_file(&mut memory, &mut model, &frames);
            }
            _ => {
                // An adjacent frame, the first frame again, and another one.
                let frames = [pfn, pfn + 1, pfn, pfn ^ u64::from(choice)];
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

    /// Whether a piece of this order can be claimed at `pfn` when KHO wrote these marks.
    fn claims(marks: &[(u64, u64)], pfn: u64, claim_order: u8) -> bool {
        let mut memory = Pages::default();
        for (pfn, private) in marks {
            memory.set_private(Pfn(*pfn), *private);
        }
        memory
            .claim_pages(Pfn(pfn).addr(), order(claim_order))
            .is_ok()
    }

    #[test]
    fn only_an_aligned_piece_of_the_claimed_order_is_claimed() {
        assert!(claims(&[(16, mark(2))], 16, 2));
        assert!(
            !claims(&[(16, mark(2))], 16, 1),
            "the claim has another order"
        );
        assert!(!claims(&[(18, mark(2))], 18, 2), "the piece is not aligned");
        assert!(
            !claims(&[(16, mark(11))], 16, 2),
            "the order is too large for a piece"
        );
        assert!(
            !claims(&[(16, mark(u32::MAX))], 16, 2),
            "the mark has no valid order"
        );
        assert!(!claims(&[(0, mark(0))], 0, 0), "the frame is null");
    }

    #[test]
    fn overlapping_pieces_are_not_claimed() {
        for inner in 17..24 {
            let marks = [(16, mark(3)), (inner, mark(0))];
            assert!(!claims(&marks, 16, 3), "{inner} is inside the piece");
            assert!(!claims(&marks, inner, 0), "a piece covers {inner}");
        }
        let marks = [(16, mark(3)), (24, mark(0)), (15, mark(0))];
        for (pfn, order) in [(15, 0), (16, 3), (24, 0)] {
            assert!(claims(&marks, pfn, order), "adjacent pieces do not overlap");
        }
        // The last page of the largest piece overlaps it; the page after that does not.
        assert!(!claims(&[(1024, mark(10)), (2047, 1)], 1024, 10));
        assert!(!claims(&[(1024, mark(10)), (2047, mark(0))], 2047, 0));
        assert!(claims(&[(1024, mark(10)), (2048, mark(0))], 1024, 10));
    }

    #[test]
    fn neither_the_root_nor_a_claimed_page_is_claimed() {
        let mut memory = Pages::default();
        memory.set_private(Pfn(16), mark(0));
        memory.set_private(Pfn(17), mark(0));
        memory.protect(Pfn(16));
        let claim = |pfn| memory.claim_pages(Pfn(pfn).addr(), Order::PAGE).is_ok();
        assert!(!claim(16));
        assert!(claim(17));
        assert!(!claim(17));
    }

    /// A claim skips the search for a covering piece only for the page after a claimed one.
    #[test]
    fn file_claims_adjacent_pages_unless_a_piece_covers_them() {
        let claims_file = |marks: &[(u64, u64)], frames: &[u64]| {
            let mut memory = Pages::default();
            for (pfn, private) in marks {
                memory.set_private(Pfn(*pfn), *private);
            }
            let memfd = memfd_of(&mut memory, frames);
            memfd.for_each_run(&memory, |_, _| ()).is_ok()
        };
        let small: Vec<_> = (16..20).map(|pfn| (pfn, mark(0))).collect();
        assert!(claims_file(&small, &[16, 17, 18, 19]));
        assert!(claims_file(&small, &[19, 18, 17, 16]));
        assert!(!claims_file(&small, &[16, 17, 16]));
        let mut covered = small.clone();
        covered.push((16 - 16, mark(5)));
        assert!(!claims_file(&covered, &[16, 17]));
        let huge = [(32, mark(5)), (64, mark(5)), (70, mark(0))];
        assert!(!claims_file(&huge, &[32, 64]));
        assert!(claims_file(&huge[..2], &[32, 64]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn no_page_has_two_owners(data in prop::collection::vec(any::<u8>(), 0..200)) {
            run(&data);
        }

        /// Frames are few and half of the pieces are single pages, so that many pieces overlap or
        /// are adjacent.
        #[test]
        fn no_page_has_two_owners_among_dense_pieces(
            marks in prop::collection::vec((0..32u8, prop_oneof![Just(0), 0..11u8]), 1..32),
            claims in prop::collection::vec((any::<u8>(), 0..32u8), 1..20),
        ) {
            let mut data = vec![0, 7, marks.len() as u8];
            data.extend(marks.iter().flat_map(|(pfn, order)| [0, *pfn, *order]));
            data.extend(claims.iter().flat_map(|(choice, pfn)| [*choice, 0, *pfn]));
            run(&data);
        }
    }
}
