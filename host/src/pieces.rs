// SPDX-License-Identifier: GPL-2.0-only

//! Chosen cases of counting pieces. `properties` compares the count with that of a set of pages.

use crate::abi::{
    pieces::{FolioPieces, Pieces},
    units::{PageIndex, Pfn},
};

/// The pieces of these frames and numbers of pages, in this order.
fn pieces_of(runs: &[(u64, u64)]) -> Pieces {
    let mut pieces = Pieces::default();
    for (start, pages) in runs {
        pieces.add(Pfn(*start), *pages);
    }
    pieces
}

#[test]
fn adjacent_folios_are_one_piece() {
    assert_eq!(Pieces::default().count(), 0);
    assert_eq!(pieces_of(&[(1, 1)]).count(), 1);
    assert_eq!(
        pieces_of(&[(10, 1), (11, 1), (12, 4), (16, 512)]).count(),
        1
    );
    assert_eq!(
        pieces_of(&[(16, 512), (12, 4), (11, 1), (10, 1)]).count(),
        1
    );
    assert_eq!(pieces_of(&[(10, 1), (11, 1), (9, 1), (12, 1)]).count(), 1);
    assert_eq!(pieces_of(&[(10, 1), (12, 1), (14, 1)]).count(), 3);
    assert_eq!(pieces_of(&[(14, 1), (12, 1), (10, 1)]).count(), 3);
    assert_eq!(pieces_of(&[(8, 4), (13, 1), (7, 1)]).count(), 3);
}

#[test]
fn folios_of_a_file_are_counted_like_their_runs() {
    let folios = [
        (10, 1),
        (11, 1),
        (20, 2),
        (19, 1),
        (5, 1),
        (22, 512),
        (15, 1),
        (14, 1),
    ];
    let mut index = 7;
    let mut counted = FolioPieces::new(pieces_of(&[(8, 2)]), Pfn(10), PageIndex(index));
    for (start, pages) in folios {
        counted.next(Pfn(start), PageIndex(index));
        index += pages;
    }
    let mut expected = pieces_of(&[(8, 2)]);
    folios
        .iter()
        .for_each(|(start, pages)| expected.add(Pfn(*start), *pages));
    assert_eq!(counted.finish(PageIndex(index)), expected);
    assert_eq!(expected.count(), 5);
}

#[test]
fn joined_pieces_are_one_if_they_are_adjacent() {
    let runs = [
        (10, 1),
        (11, 1),
        (20, 2),
        (19, 1),
        (30, 1),
        (29, 1),
        (22, 1),
    ];
    let all = pieces_of(&runs);
    assert_eq!(all.count(), 4);
    for at in 0..=runs.len() {
        let (before, after) = runs.split_at(at);
        let mut pieces = pieces_of(before);
        pieces.join(&pieces_of(after));
        // A run that is cut in two counts twice, unless its second part is all that is joined.
        assert!((4..=5).contains(&pieces.count()), "cut at {at}");
    }
    let mut three = pieces_of(&[(1, 1), (3, 1), (5, 1)]);
    three.join(&pieces_of(&[(8, 1), (10, 1)]));
    assert_eq!(three.count(), 5);
    three.join(&pieces_of(&[(11, 1)]));
    assert_eq!(three.count(), 5);
    three.join(&Pieces::default());
    assert_eq!(three.count(), 5);
    let mut none = Pieces::default();
    none.join(&three);
    assert_eq!(none, three);
    none.join(&pieces_of(&[(0x100, 1)]));
    assert_eq!(none.count(), 6);
}

#[test]
fn boot_takes_a_second_from_7500_pieces_on() {
    let scattered = |count| pieces_of(&(1..=count).map(|nr| (2 * nr, 1)).collect::<Vec<_>>());
    assert_eq!(scattered(7_499).boot_seconds(), 0);
    assert_eq!(scattered(7_500).boot_seconds(), 1);
    assert_eq!(scattered(16_384).boot_seconds(), 4);
    assert_eq!(scattered(32_768).boot_seconds(), 19);
}
