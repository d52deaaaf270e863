// SPDX-License-Identifier: GPL-2.0-only

//! The walk over the folios of a memfd: all of a valid one is claimed, and of one with a damaged
//! value all that comes before it.

use proptest::prelude::*;

use crate::{
    abi::{
        memfd::{FolioEntry, Header, Memfd},
        vmalloc::{self, PAGES_PER_CHUNK},
        Damage, PhysAddr, Record, PAGE_SIZE,
    },
    memory::Pages,
    tests::{bytes_of, entry_of},
};

const PAGE: u64 = PAGE_SIZE as u64;

/// Where lists, parts of the array and folios are.
const LISTS: u64 = 1 << 20;
const PARTS: u64 = 1 << 30;
const FOLIOS: u64 = 1 << 40;

/// A memfd that was handed over, still in pieces.
#[derive(Clone, Debug)]
struct State {
    header: Header,
    /// With the order that the folio has.
    folios: Vec<(FolioEntry, u32)>,
}

impl State {
    fn list(i: usize) -> u64 {
        LISTS + i as u64 * PAGE
    }

    fn part(&self, i: usize) -> u64 {
        PARTS + i as u64 * (PAGE << self.header.order)
    }

    fn per_part(&self) -> usize {
        256 << self.header.order
    }

    fn parts(&self) -> usize {
        self.folios.len().div_ceil(self.per_part())
    }

    fn memory(&self) -> Pages {
        let mut memory = Pages::default();
        for (i, entries) in self.folios.chunks(self.per_part()).enumerate() {
            let content: Vec<u8> = entries.iter().flat_map(|(e, _)| bytes_of(e)).collect();
            memory.put_order(self.part(i), self.header.order.into(), &content);
        }
        for (entry, order) in &self.folios {
            memory.put_order(entry.pfn().addr().0, *order, &[]);
        }
        let parts: Vec<_> = (0..self.parts()).collect();
        let lists = parts.chunks(PAGES_PER_CHUNK);
        let last = lists.len() - 1;
        for (i, parts) in lists.enumerate() {
            let mut list = vec![0; PAGE_SIZE];
            for (slot, part) in parts.iter().enumerate() {
                vmalloc::set_page(&mut list, slot, PhysAddr(self.part(*part)));
            }
            if i < last {
                vmalloc::set_next(&mut list, PhysAddr(Self::list(i + 1)));
            }
            memory.put(Self::list(i), &list);
        }
        memory
    }

    /// How many folios were visited, and how it ended.
    fn walk(&self, memory: &Pages) -> (usize, Result<(), Damage>) {
        let mut visited = 0;
        let memfd = Memfd::new(self.header).expect("the header is not what is damaged here");
        let end = memfd.for_each_run(memory, |folios, run| {
            let mut index = run.index.0;
            for (at, order) in folios {
                let (entry, its_order) = &self.folios[visited];
                assert_eq!((at, order), (entry.pfn().addr().0, *its_order));
                assert_eq!((index, run.flags), (entry.index.0, entry.flags()));
                index += 1 << order;
                visited += 1;
            }
            assert_eq!(index, run.index.0 + run.pages);
        });
        (visited, end)
    }
}

/// Any folios that follow each other: many small ones, or few of one size.
fn states() -> impl Strategy<Value = State> {
    let any = prop::collection::vec((0..3u64, 0..=4u32, 0..4u64), 1..1200);
    let alike = (0..=9u32, 1..200usize).prop_map(|(order, nr)| vec![(0, order, 3); nr]);
    (prop_oneof![3 => any, 1 => alike], 0..=2u16).prop_map(|(folios, order)| {
        let mut next = 0u64;
        let folios: Vec<_> = folios
            .into_iter()
            .enumerate()
            .map(|(i, (hole, order, flags))| {
                let size = 1 << order;
                let index = (next + hole * size).next_multiple_of(size);
                next = index + size;
                let pfn = FOLIOS / PAGE + i as u64 * 512;
                (entry_of(pfn, flags, index), order)
            })
            .collect();
        let nr_folios = folios.len() as u64;
        let header = Header {
            pos: 0,
            size: next * PAGE,
            seals: 0,
            flags: 0,
            nr_folios,
            first: LISTS,
            total_pages: (nr_folios.div_ceil(256 << order) << order) as u32,
            array_flags: vmalloc::FLAG_ALLOC,
            order,
        };
        State { header, folios }
    })
}

/// What can be wrong with an entry of the array, or with the folio that it names.
#[derive(Clone, Copy, Debug)]
enum Change {
    Frame(u64),
    Gone,
    Before,
    PastEnd(u64),
    Flags(u32),
    Twice,
}

fn damage() -> impl Strategy<Value = Change> {
    prop_oneof![
        prop_oneof![Just(0), 1..1u64 << 7, 1u64 << 40..1 << 52].prop_map(Change::Frame),
        Just(Change::Gone),
        Just(Change::Before),
        (0..1u64 << 40).prop_map(Change::PastEnd),
        (2..12u32).prop_map(Change::Flags),
        Just(Change::Twice),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_is_claimed(state in states()) {
        let memory = state.memory();
        prop_assert_eq!(state.walk(&memory), (state.folios.len(), Ok(())));
        prop_assert_eq!(memory.left(), 0);
        // Once.
        let again = Err(Damage::Address { at: PhysAddr(LISTS) });
        prop_assert_eq!(state.walk(&memory), (0, again));
    }

    #[test]
    fn damaged_entry(mut state in states(), which: prop::sample::Index, damage in damage()) {
        let which = which.index(state.folios.len());
        let (entry, order) = state.folios[which];
        let gone = Damage::Address { at: entry.pfn().addr() };
        let with = |pfn, flags, index| (entry_of(pfn, flags, index), order);
        let (damaged, why) = match damage {
            Change::Frame(pfn) => (
                with(pfn, entry.flags(), entry.index.0),
                Damage::Address { at: PhysAddr(pfn * PAGE) },
            ),
            Change::Gone => ((entry, order), gone),
            Change::Before if which > 0 => {
                let index = state.folios[which - 1].0.index.0;
                (with(entry.pfn().0, entry.flags(), index), Damage::FolioIndex { index })
            }
            Change::Before => return Ok(()),
            Change::PastEnd(more) => {
                let index = (state.header.size / PAGE).next_multiple_of(16) + more * 16;
                (with(entry.pfn().0, entry.flags(), index), Damage::FolioIndex { index })
            }
            Change::Flags(bit) => {
                let flags = entry.flags() | 1 << bit;
                (with(entry.pfn().0, flags, entry.index.0), Damage::Flags { flags })
            }
            Change::Twice if which > 0 => {
                let other = state.folios[which - 1].0;
                (with(other.pfn().0, entry.flags(), entry.index.0), Damage::Address { at: other.pfn().addr() })
            }
            Change::Twice => return Ok(()),
        };
        // The folios stay what they are; only what the array says of one is changed.
        let mut memory = state.memory();
        state.folios[which] = damaged;
        let part = which / state.per_part();
        let changed: Vec<u8> = state
            .folios
            .chunks(state.per_part())
            .nth(part)
            .unwrap()
            .iter()
            .flat_map(|(e, _)| bytes_of(e))
            .collect();
        memory.put_order(state.part(part), state.header.order.into(), &changed);
        if matches!(damage, Change::Gone) {
            memory.remove(entry.pfn().addr().0);
        }
        let (visited, end) = state.walk(&memory);
        // Where a part begins, the part before it must have ended: its last folio is too late.
        let begins_part = which % state.per_part() == 0;
        let which = which - usize::from(begins_part && matches!(damage, Change::Before));
        for (entry, _) in &state.folios[..which] {
            prop_assert!(memory.private(entry.pfn()) == Some(0), "{} is left", entry.pfn().addr());
        }
        if matches!(damage, Change::Twice) {
            // The run that it is in is freed.
            prop_assert!(visited <= which);
            // It is looked at before it is claimed the first time, and may be too large for its
            // second place.
            let too_large = Damage::FolioIndex { index: entry.index.0 };
            prop_assert!(end == Err(why) || end == Err(too_large));
        } else {
            prop_assert_eq!((visited, end), (which, Err(why)));
        }
    }

    #[test]
    fn damaged_index_of_a_large_folio(mut state in states(), which: prop::sample::Index) {
        let which = which.index(state.folios.len());
        let (entry, order) = state.folios[which];
        if order == 0 {
            return Ok(());
        }
        let index = entry.index.0 + 1;
        state.folios[which].0 = entry_of(entry.pfn().0, entry.flags(), index);
        let memory = state.memory();
        prop_assert_eq!(state.walk(&memory), (which, Err(Damage::FolioIndex { index })));
    }

    #[test]
    fn damaged_array(state in states(), which: prop::sample::Index, order: bool) {
        let which = which.index(state.parts());
        let at = state.part(which);
        let mut memory = state.memory();
        match order {
            true => memory.put_order(at, u32::from(state.header.order) + 1, &[]),
            false => memory.remove(at),
        }
        let expected = (which * state.per_part(), Err(Damage::Address { at: PhysAddr(at) }));
        prop_assert_eq!(state.walk(&memory), expected);
    }

    #[test]
    fn array_that_ends_too_early(state in states(), which: prop::sample::Index) {
        let which = which.index(state.parts());
        let mut memory = state.memory();
        let mut list = vec![0; PAGE_SIZE];
        for part in 0..which {
            vmalloc::set_page(&mut list, part, PhysAddr(state.part(part)));
        }
        memory.put(LISTS, &list);
        let found = which * state.per_part();
        let why = Damage::ArrayLength { entries: state.header.nr_folios, capacity: found as u64 };
        prop_assert_eq!(state.walk(&memory), (found, Err(why)));
    }

    #[test]
    fn array_of_a_wrong_form(mut state in states(), flag in 2..16, large: bool) {
        let memory = state.memory();
        match large {
            true => state.header.array_flags |= 1u16 << flag,
            false => state.header.order = 11,
        }
        prop_assert_eq!(state.walk(&memory), (0, Err(Damage::ArrayForm)));
        prop_assert_eq!(memory.left(), memory.len());
    }
}

/// The same as a walk, but all pieces are given before the folios of the first are claimed, and the
/// last piece comes first. What was claimed, in the order of the file, and what is wrong with each
/// piece; behind the last, with the walk itself.
fn backwards(state: &State, memory: &Pages) -> (Vec<u64>, Vec<(usize, Damage)>) {
    let memfd = Memfd::new(state.header).unwrap();
    let mut walk = memfd.walk(memory);
    let mut pieces = Vec::new();
    let end = loop {
        match walk.next_slice() {
            Ok(Some(piece)) => pieces.push(piece),
            end => break end.map(|_| ()),
        }
    };
    let mut claimed = Vec::new();
    let mut refused: Vec<_> = end
        .err()
        .map(|why| (walk.returned() + 1, why))
        .into_iter()
        .collect();
    for piece in pieces.into_iter().rev() {
        let nr = piece.nr;
        let mut of_piece = Vec::new();
        let end = piece.for_each_run(memory, |folios, _| {
            of_piece.extend(folios.iter().map(|(at, _)| *at));
        });
        of_piece.append(&mut claimed);
        claimed = of_piece;
        refused.extend(end.err().map(|why| (nr, why)));
    }
    refused.reverse();
    (claimed, refused)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_in_any_order(state in states()) {
        let memory = state.memory();
        let (claimed, refused) = backwards(&state, &memory);
        prop_assert!(refused.is_empty());
        prop_assert_eq!(memory.left(), 0);
        let all: Vec<_> = state.folios.iter().map(|(entry, _)| entry.pfn().addr().0).collect();
        prop_assert_eq!(claimed, all);
    }

    /// What is wrong with the first piece of those that are refused is what a walk tells; the
    /// pieces before it are claimed all the same.
    #[test]
    fn first_damage_of_pieces(
        mut state in states(), which: prop::sample::Index, index: prop::sample::Index, end: bool
    ) {
        let which = which.index(state.folios.len());
        let pages = (state.header.size / PAGE) as usize;
        let index = if end { u64::MAX } else { index.index(pages) as u64 };
        let (entry, _) = state.folios[which];
        state.folios[which].0 = entry_of(entry.pfn().0, entry.flags(), index);
        prop_assume!(index != entry.index.0);
        let memory = state.memory();
        let (visited, walked) = state.walk(&memory);
        let memory = state.memory();
        let (claimed, refused) = backwards(&state, &memory);
        prop_assert_eq!(refused.first().map(|(_, why)| *why), walked.err());
        let before: Vec<_> = state.folios[..visited].iter().map(|(e, _)| e.pfn().addr().0).collect();
        prop_assert!(claimed.starts_with(&before[..visited / state.per_part() * state.per_part()]));
    }
}

/// Two parts, of which the second begins where it must not.
#[test]
fn part_that_begins_before_the_former() {
    // Not behind the start of the former: all of that one is claimed.
    for index in [0, u64::MAX, 512] {
        let mut state = large(2);
        state.folios[256].0 = entry_of(FOLIOS / PAGE + 256, 3, index);
        let why = Damage::FolioIndex { index };
        assert_eq!(state.walk(&state.memory()), (256, Err(why)), "{index}");
        assert_eq!(backwards(&state, &state.memory()).1, [(2, why)], "{index}");
    }
    // Within it: what it has there is refused.
    for index in [1, 64, 255] {
        let mut state = large(2);
        state.folios[256].0 = entry_of(FOLIOS / PAGE + 256, 3, index);
        let why = Damage::FolioIndex { index };
        assert_eq!(state.walk(&state.memory()), (index as usize, Err(why)));
        let (claimed, refused) = backwards(&state, &state.memory());
        assert_eq!(refused[0], (1, why));
        // The other one goes on, and has nothing there.
        assert_eq!(claimed.len(), index as usize + 256);
        assert_eq!(refused.len(), 1);
    }
}

/// A folio that begins before the next part does and ends behind that.
#[test]
fn folio_that_reaches_into_the_next_part() {
    let mut state = large(2);
    state.folios[255] = (entry_of(FOLIOS / PAGE + 1024, 3, 256), 3);
    for (i, (entry, _)) in state.folios[256..].iter_mut().enumerate() {
        *entry = entry_of(entry.pfn().0, 3, 260 + i as u64);
    }
    state.header.size += 8 * PAGE;
    let why = Damage::FolioIndex { index: 256 };
    assert_eq!(state.walk(&state.memory()), (255, Err(why)));
    assert_eq!(backwards(&state, &state.memory()).1, [(1, why)]);
    // As the last of a run, too.
    state.folios[255].0 = entry_of(FOLIOS / PAGE + 1024, 3, 256);
    state.folios[254] = (entry_of(FOLIOS / PAGE + 2048, 3, 254), 1);
    assert_eq!(state.walk(&state.memory()), (255, Err(why)));
    // One that ends there is fine.
    for (i, (entry, _)) in state.folios[256..].iter_mut().enumerate() {
        *entry = entry_of(entry.pfn().0, 3, 264 + i as u64);
    }
    assert_eq!(state.walk(&state.memory()), (512, Ok(())));
    // And the last of the file may reach over its end.
    state.folios[511] = (entry_of(FOLIOS / PAGE + 4096, 3, 520), 3);
    state.header.size = 521 * PAGE;
    assert_eq!(state.walk(&state.memory()), (512, Ok(())));
}

/// A file of `parts` full pages of array; it is `nr_folios` that makes lists long.
fn large(parts: usize) -> State {
    let nr = parts * 256;
    State {
        header: Header {
            pos: 0,
            size: nr as u64 * PAGE,
            seals: 0,
            flags: 0,
            nr_folios: nr as u64,
            first: LISTS,
            total_pages: parts as u32,
            array_flags: vmalloc::FLAG_ALLOC,
            order: 0,
        },
        folios: (0..nr as u64)
            .map(|i| (entry_of(FOLIOS / PAGE + i, 3, i), 0))
            .collect(),
    }
}

#[test]
fn list_that_goes_on() {
    let state = large(PAGES_PER_CHUNK + 1);
    let memory = state.memory();
    assert_eq!(state.walk(&memory), (state.folios.len(), Ok(())));
    assert_eq!(memory.left(), 0);

    let mut memory = state.memory();
    memory.remove(State::list(1));
    let why = Damage::Address {
        at: PhysAddr(State::list(1)),
    };
    assert_eq!(state.walk(&memory), (PAGES_PER_CHUNK * 256, Err(why)));
}

/// KHO begins another list as soon as one is full.
#[test]
fn list_that_is_full() {
    let state = large(PAGES_PER_CHUNK);
    let mut memory = state.memory();
    let mut list = vec![0; PAGE_SIZE];
    for part in 0..PAGES_PER_CHUNK {
        vmalloc::set_page(&mut list, part, PhysAddr(state.part(part)));
    }
    vmalloc::set_next(&mut list, PhysAddr(State::list(1)));
    memory.put(LISTS, &list);
    memory.put(State::list(1), &[]);
    assert_eq!(state.walk(&memory), (state.folios.len(), Ok(())));
    assert_eq!(memory.left(), 0);
}

/// Lists that say nothing and go on: no more of them than can be needed.
#[test]
fn lists_without_an_end() {
    let state = large(1);
    let mut memory = state.memory();
    for i in 0..9 {
        let mut list = vec![0; PAGE_SIZE];
        vmalloc::set_next(&mut list, PhysAddr(State::list(i + 1)));
        memory.put(State::list(i), &list);
    }
    assert_eq!(state.walk(&memory), (0, Err(Damage::ArrayForm)));

    // One that names itself is claimed once.
    let state = large(PAGES_PER_CHUNK);
    let mut memory = state.memory();
    let mut list = vec![0; PAGE_SIZE];
    vmalloc::set_next(&mut list, PhysAddr(LISTS));
    memory.put(LISTS, &list);
    let why = Damage::Address {
        at: PhysAddr(LISTS),
    };
    assert_eq!(state.walk(&memory), (0, Err(why)));
}

/// A file without folios has no array, and none is looked for.
#[test]
fn file_without_folios() {
    let mut state = large(1);
    state.header.nr_folios = 0;
    let refused = Memfd::new(state.header).err();
    assert_eq!(
        refused,
        Some(Damage::ArrayLength {
            entries: 0,
            capacity: 256
        })
    );
    (state.header.first, state.header.total_pages) = (0, 0);
    let memory = state.memory();
    assert_eq!(state.walk(&memory), (0, Ok(())));
    assert_eq!(memory.left(), memory.len());
}

/// What stands behind the empty entry was not written by anybody.
#[test]
fn array_with_anything_behind_its_end() {
    for count in [1, 63, 64, 65, 255] {
        let mut state = large(1);
        state.folios.truncate(count);
        state.header.nr_folios = count as u64;
        let mut memory = state.memory();
        let mut part = vec![0xa5; PAGE_SIZE];
        for (i, (entry, _)) in state.folios.iter().enumerate() {
            entry.store(&mut part[i * FolioEntry::SIZE..]);
        }
        FolioEntry::EMPTY.store(&mut part[count * FolioEntry::SIZE..]);
        memory.put_order(state.part(0), 0, &part);
        assert_eq!(state.walk(&memory), (count, Ok(())), "{count}");
        // One that is not empty was meant to be read.
        let mut memory = state.memory();
        part[count * FolioEntry::SIZE] = 1;
        memory.put_order(state.part(0), 0, &part);
        let refused = Damage::ArrayLength {
            entries: count as u64,
            capacity: count as u64 + 1,
        };
        assert_eq!(state.walk(&memory).1, Err(refused), "{count}");
    }
}
