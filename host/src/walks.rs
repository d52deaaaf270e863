// SPDX-License-Identifier: GPL-2.0-only

//! The walk of a memfd claims all folios of a valid file, in whatever order the array names them.
//! When one value is damaged, it claims the folios before that value and reports it.

use proptest::prelude::*;

use crate::{
    abi::{
        memfd::{FolioEntry, Header, Memfd},
        vmalloc::{self, PAGES_PER_CHUNK},
        Damage, PhysAddr, Record, PAGE_SIZE,
    },
    memory::{PageCache, Pages},
    tests::{bytes_of, entry_of},
};

const PAGE: u64 = PAGE_SIZE as u64;

/// The addresses of the first chunk, the first array page and the first folio.
const CHUNKS: u64 = 1 << 20;
const ARRAY_PAGES: u64 = 1 << 30;
const FOLIOS: u64 = 1 << 40;

/// A preserved memfd.
#[derive(Clone, Debug)]
struct PreservedFile {
    header: Header,
    /// The entry and order of each folio.
    folios: Vec<(FolioEntry, u32)>,
}

impl PreservedFile {
    /// The address of chunk `i`.
    fn chunk_addr(i: usize) -> u64 {
        CHUNKS + i as u64 * PAGE
    }

    /// The address of array page `i`.
    fn array_page_addr(&self, i: usize) -> u64 {
        ARRAY_PAGES + i as u64 * (PAGE << self.header.order)
    }

    /// How many entries an array page holds.
    fn entries_per_page(&self) -> usize {
        256 << self.header.order
    }

    /// The number of array pages.
    fn array_pages(&self) -> usize {
        self.folios.len().div_ceil(self.entries_per_page())
    }

    /// The entries that name a folio, among the first `count` of the array.
    fn named(&self, count: usize) -> Vec<(FolioEntry, u32)> {
        let first = self.folios[..count.min(self.folios.len())].iter();
        first.copied().filter(|(e, _)| e.pfn().0 != 0).collect()
    }

    /// As [`PreservedFile::named`], of all entries.
    fn all(&self) -> Vec<(FolioEntry, u32)> {
        self.named(usize::MAX)
    }

    /// The pieces that hold the chunks, the array and the folios.
    fn memory(&self) -> Pages {
        let mut memory = Pages::default();
        for (i, entries) in self.folios.chunks(self.entries_per_page()).enumerate() {
            let content: Vec<u8> = entries.iter().flat_map(|(e, _)| bytes_of(e)).collect();
            memory.put_order(self.array_page_addr(i), self.header.order.into(), &content);
        }
        for (entry, order) in &self.all() {
            memory.put_order(entry.pfn().addr().0, *order, &[]);
        }
        let all: Vec<_> = (0..self.array_pages()).collect();
        let of_chunks = all.chunks(PAGES_PER_CHUNK);
        let last = of_chunks.len() - 1;
        for (i, of_chunk) in of_chunks.enumerate() {
            let mut chunk = vec![0; PAGE_SIZE];
            for (slot, nr) in of_chunk.iter().enumerate() {
                vmalloc::set_page(&mut chunk, slot, PhysAddr(self.array_page_addr(*nr)));
            }
            if i < last {
                vmalloc::set_next(&mut chunk, PhysAddr(Self::chunk_addr(i + 1)));
            }
            memory.put(Self::chunk_addr(i), &chunk);
        }
        memory
    }

    /// Walks the file and checks each folio that the walk visits. Returns the number of visited
    /// folios and the result of the walk.
    fn walk(&self, memory: &Pages) -> (usize, Result<(), Damage>) {
        let mut visited = 0;
        let all = self.all();
        let memfd = Memfd::new(self.header).expect("tests of the walk use valid headers");
        let result = memfd.for_each_run(memory, |folios, run| {
            let mut index = run.index.0;
            for (at, order) in folios {
                let (entry, expected_order) = &all[visited];
                assert_eq!((at, order), (entry.pfn().addr().0, *expected_order));
                assert_eq!((index, run.flags), (entry.index.0, entry.flags()));
                index += 1 << order;
                visited += 1;
            }
            assert_eq!(index, run.index.0 + run.pages);
        });
        (visited, result)
    }
}

/// In which order the array of a file names its folios.
#[derive(Clone, Debug)]
enum ArrayOrder {
    /// In the order of the file.
    Ascending,
    /// Folios that came late follow the others, in one ascending sequence or several.
    Late { choice: u64, sequences: u64 },
    /// In any order.
    Any { seed: u64 },
}

impl ArrayOrder {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Just(Self::Ascending),
            (any::<u64>(), 1..5u64)
                .prop_map(|(choice, sequences)| Self::Late { choice, sequences }),
            any::<u64>().prop_map(|seed| Self::Any { seed }),
        ]
    }

    fn apply(&self, folios: &mut [(FolioEntry, u32)]) {
        let mixed =
            |index: u64, seed: u64| (index ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        match *self {
            Self::Ascending => (),
            Self::Late { choice, sequences } => {
                folios.sort_by_key(|(e, _)| mixed(e.index.0, choice) % sequences);
            }
            Self::Any { seed } => folios.sort_by_key(|(e, _)| mixed(e.index.0, seed)),
        }
    }
}

/// Files that have folios of any order and holes between them, or folios of one order and no holes.
/// The array names them in any order.
fn files() -> impl Strategy<Value = PreservedFile> {
    let mixed = prop::collection::vec((0..3u64, 0..=4u32, 0..4u64), 1..1200);
    let uniform = (0..=9u32, 1..200usize).prop_map(|(order, nr)| vec![(0, order, 3); nr]);
    let folios = prop_oneof![3 => mixed, 1 => uniform];
    (folios, 0..=2u16, ArrayOrder::any()).prop_map(|(folios, order, array_order)| {
        let mut next = 0u64;
        let mut folios: Vec<_> = folios
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
        array_order.apply(&mut folios);
        let nr_folios = folios.len() as u64;
        let header = Header {
            pos: 0,
            size: next.max(nr_folios) * PAGE,
            seals: 0,
            flags: 0,
            nr_folios,
            first: CHUNKS,
            total_pages: (nr_folios.div_ceil(256 << order) << order) as u32,
            array_flags: vmalloc::FLAG_ALLOC,
            order,
        };
        PreservedFile { header, folios }
    })
}

/// Damage to an entry of the array, or to the folio that it names.
#[derive(Clone, Copy, Debug)]
enum EntryDamage {
    /// The entry names this frame, at which no piece begins.
    Frame(u64),
    /// The folio was not preserved.
    NotPreserved,
    /// The index is that many folios of order 4 after the end of the file.
    IndexAfterEnd(u64),
    /// The entry has this invalid flag bit.
    Flags(u32),
    /// The entry names the same frame as the one before it.
    SameFrame,
}

/// Any damage to an entry.
fn entry_damages() -> impl Strategy<Value = EntryDamage> {
    prop_oneof![
        prop_oneof![1..1u64 << 7, 1u64 << 40..1 << 52].prop_map(EntryDamage::Frame),
        Just(EntryDamage::NotPreserved),
        (0..1u64 << 40).prop_map(EntryDamage::IndexAfterEnd),
        (2..12u32).prop_map(EntryDamage::Flags),
        Just(EntryDamage::SameFrame),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn valid_file_is_claimed_once(file in files()) {
        let memory = file.memory();
        prop_assert_eq!(file.walk(&memory), (file.all().len(), Ok(())));
        prop_assert_eq!(memory.unclaimed(), 0);
        let claimed_before = Err(Damage::Address { at: PhysAddr(CHUNKS) });
        prop_assert_eq!(file.walk(&memory), (0, claimed_before));
    }

    #[test]
    fn walk_stops_at_a_damaged_entry(mut file in files(), which: prop::sample::Index, damage in entry_damages()) {
        let which = which.index(file.folios.len());
        let (entry, order) = file.folios[which];
        // An entry without a frame is not looked at.
        prop_assume!(entry.pfn().0 != 0);
        let not_preserved = Damage::Address { at: entry.pfn().addr() };
        let entry_with = |pfn, flags, index| (entry_of(pfn, flags, index), order);
        let (damaged, expected) = match damage {
            EntryDamage::Frame(pfn) => (
                entry_with(pfn, entry.flags(), entry.index.0),
                Damage::Address { at: PhysAddr(pfn * PAGE) },
            ),
            EntryDamage::NotPreserved => ((entry, order), not_preserved),
            EntryDamage::IndexAfterEnd(more) => {
                let index = (file.header.size / PAGE).next_multiple_of(16) + more * 16;
                (entry_with(entry.pfn().0, entry.flags(), index), Damage::FolioIndex { index })
            }
            EntryDamage::Flags(bit) => {
                let flags = entry.flags() | 1 << bit;
                (entry_with(entry.pfn().0, flags, entry.index.0), Damage::Flags { flags })
            }
            EntryDamage::SameFrame if which > 0 && file.folios[which - 1].0.pfn().0 != 0 => {
                let other = file.folios[which - 1].0;
                (entry_with(other.pfn().0, entry.flags(), entry.index.0), Damage::Address { at: other.pfn().addr() })
            }
            EntryDamage::SameFrame => return Ok(()),
        };
        // Damage the array page and keep the pieces of the folios.
        let mut memory = file.memory();
        file.folios[which] = damaged;
        let page = which / file.entries_per_page();
        let changed: Vec<u8> = file
            .folios
            .chunks(file.entries_per_page())
            .nth(page)
            .unwrap()
            .iter()
            .flat_map(|(e, _)| bytes_of(e))
            .collect();
        memory.put_order(file.array_page_addr(page), file.header.order.into(), &changed);
        if matches!(damage, EntryDamage::NotPreserved) {
            memory.remove(entry.pfn().addr().0);
        }
        let (visited, result) = file.walk(&memory);
        let before = file.named(which);
        for (entry, _) in &before {
            prop_assert!(memory.private(entry.pfn()) == Some(0), "{} is not claimed", entry.pfn().addr());
        }
        if matches!(damage, EntryDamage::SameFrame) {
            // When a claim of the run fails, the folios claimed before it are freed, not visited.
            prop_assert!(visited <= before.len());
            // The walk looks up entries in batches before it claims their folios, so the frame may
            // still have its mark. Then the order may be too large for the index of the second
            // entry.
            let too_large = Damage::FolioIndex { index: entry.index.0 };
            prop_assert!(result == Err(expected) || result == Err(too_large));
        } else {
            prop_assert_eq!((visited, result), (before.len(), Err(expected)));
        }
    }

    #[test]
    fn unaligned_index_is_reported(mut file in files(), which: prop::sample::Index) {
        let which = which.index(file.folios.len());
        let (entry, order) = file.folios[which];
        prop_assume!(order > 0);
        let index = entry.index.0 + 1;
        file.folios[which].0 = entry_of(entry.pfn().0, entry.flags(), index);
        let memory = file.memory();
        let expected = (file.named(which).len(), Err(Damage::FolioIndex { index }));
        prop_assert_eq!(file.walk(&memory), expected);
    }

    #[test]
    fn walk_stops_at_a_damaged_array_page(file in files(), which: prop::sample::Index, has_other_order: bool) {
        let which = which.index(file.array_pages());
        let at = file.array_page_addr(which);
        let mut memory = file.memory();
        match has_other_order {
            true => memory.put_order(at, u32::from(file.header.order) + 1, &[]),
            false => memory.remove(at),
        }
        let visited = file.named(which * file.entries_per_page()).len();
        let expected = (visited, Err(Damage::Address { at: PhysAddr(at) }));
        prop_assert_eq!(file.walk(&memory), expected);
    }

    #[test]
    fn missing_array_pages_are_reported(file in files(), which: prop::sample::Index) {
        let which = which.index(file.array_pages());
        let mut memory = file.memory();
        let mut chunk = vec![0; PAGE_SIZE];
        for nr in 0..which {
            vmalloc::set_page(&mut chunk, nr, PhysAddr(file.array_page_addr(nr)));
        }
        memory.put(CHUNKS, &chunk);
        let capacity = which * file.entries_per_page();
        let expected = Damage::ArrayLength { entries: file.header.nr_folios, capacity: capacity as u64 };
        prop_assert_eq!(file.walk(&memory), (file.named(capacity).len(), Err(expected)));
    }

    #[test]
    fn array_of_an_invalid_form_is_not_claimed(mut file in files(), flag in 2..16, has_flag: bool) {
        let memory = file.memory();
        match has_flag {
            true => file.header.array_flags |= 1u16 << flag,
            false => file.header.order = 11,
        }
        prop_assert_eq!(file.walk(&memory), (0, Err(Damage::ArrayForm)));
        prop_assert_eq!(memory.unclaimed(), memory.len());
    }
}

/// Takes all slices from the walk before it claims any folio, then claims those of the last slice
/// first.
///
/// Returns the addresses of the claimed folios in the order of the array, and the damage of each
/// slice with the number of the slice. Damage of the walk itself has the number after the last
/// slice.
fn walk_backwards(file: &PreservedFile, memory: &Pages) -> (Vec<u64>, Vec<(usize, Damage)>) {
    let memfd = Memfd::new(file.header).unwrap();
    let mut walk = memfd.walk(memory);
    let mut slices = Vec::new();
    let result = loop {
        match walk.next_slice() {
            Ok(Some(slice)) => slices.push(slice),
            result => break result.map(|_| ()),
        }
    };
    let mut claimed = Vec::new();
    let mut damages: Vec<_> = result
        .err()
        .map(|damage| (walk.returned() + 1, damage))
        .into_iter()
        .collect();
    for slice in slices.into_iter().rev() {
        let nr = slice.nr;
        let mut of_slice = Vec::new();
        let result = slice.for_each_run(memory, |folios, _| {
            of_slice.extend(folios.iter().map(|(at, _)| *at));
        });
        of_slice.append(&mut claimed);
        claimed = of_slice;
        damages.extend(result.err().map(|damage| (nr, damage)));
    }
    damages.reverse();
    (claimed, damages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slices_are_claimed_in_any_order(file in files()) {
        let memory = file.memory();
        let (claimed, damages) = walk_backwards(&file, &memory);
        prop_assert!(damages.is_empty());
        prop_assert_eq!(memory.unclaimed(), 0);
        let all: Vec<_> = file.all().iter().map(|(entry, _)| entry.pfn().addr().0).collect();
        prop_assert_eq!(claimed, all);
    }

    /// The damage of the first damaged slice is the damage that a walk in order reports. The slices
    /// before it are claimed in both cases.
    #[test]
    fn first_damaged_slice_reports_the_damage_of_the_walk(
        mut file in files(), which: prop::sample::Index, index: prop::sample::Index, is_max: bool
    ) {
        let which = which.index(file.folios.len());
        let pages = (file.header.size / PAGE) as usize;
        let index = if is_max { u64::MAX } else { index.index(pages) as u64 };
        let (entry, _) = file.folios[which];
        file.folios[which].0 = entry_of(entry.pfn().0, entry.flags(), index);
        let memory = file.memory();
        let (_, result) = file.walk(&memory);
        let memory = file.memory();
        let (claimed, damages) = walk_backwards(&file, &memory);
        prop_assert_eq!(damages.first().map(|(_, damage)| *damage), result.err());
        let whole = damages.first().map_or(usize::MAX, |(nr, _)| (nr - 1) * file.entries_per_page());
        let before = file.named(whole);
        let before: Vec<_> = before.iter().map(|(e, _)| e.pfn().addr().0).collect();
        prop_assert!(claimed.starts_with(&before));
    }
}

/// Inserts the folios of the slices of `file` whose numbers are in `order`, until one overlaps another
/// in the file. Returns whether none does.
fn insert(file: &PreservedFile, order: impl IntoIterator<Item = usize>) -> bool {
    let memory = file.memory();
    let mut walk = Memfd::new(file.header).unwrap().walk(&memory);
    let mut slices = Vec::new();
    while let Some(slice) = walk.next_slice().unwrap() {
        slices.push(Some(slice));
    }
    let (mut cache, mut fits) = (PageCache::default(), true);
    for nr in order {
        let slice = slices[nr - 1].take().unwrap();
        let result = slice.for_each_run(&memory, |folios, run| {
            fits = fits && cache.insert(run.index.0, folios[0].1, folios.len());
        });
        assert_eq!(result, Ok(()));
    }
    assert_eq!(memory.unclaimed(), 0, "what overlaps is claimed, and freed");
    fits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folios_of_a_valid_file_do_not_overlap(file in files(), backwards: bool) {
        let slices = 1..=file.array_pages();
        let fits = if backwards { insert(&file, slices.rev()) } else { insert(&file, slices) };
        prop_assert!(fits);
    }

    /// The walk does not see that a folio overlaps another one. Insertion does, whichever comes first.
    #[test]
    fn overlap_is_found_in_any_order(
        mut file in files(), which: prop::sample::Index, other: prop::sample::Index, backwards: bool
    ) {
        let which = which.index(file.folios.len());
        let ((entry, order), (other, _)) = (file.folios[which], file.folios[other.index(file.folios.len())]);
        prop_assume!(entry.pfn().0 != 0 && other.pfn().0 != 0 && entry != other);
        let index = other.index.0 >> order << order;
        // It may overlap nothing but itself.
        prop_assume!(index != entry.index.0);
        file.folios[which].0 = entry_of(entry.pfn().0, entry.flags(), index);
        prop_assert_eq!(file.walk(&file.memory()), (file.all().len(), Ok(())));
        let slices = 1..=file.array_pages();
        let fits = if backwards { insert(&file, slices.rev()) } else { insert(&file, slices) };
        prop_assert!(!fits);
    }
}

/// The last folio of a slice reaches into the next one, which another CPU may restore first.
#[test]
fn folio_that_reaches_into_the_next_slice_overlaps() {
    let mut file = full_array(2);
    file.folios[255] = (entry_of(FOLIOS / PAGE + 1024, 3, 256), 3);
    for (i, (entry, _)) in file.folios[256..].iter_mut().enumerate() {
        *entry = entry_of(entry.pfn().0, 3, 263 + i as u64);
    }
    file.header.size += 8 * PAGE;
    assert!(!insert(&file, [1, 2]) && !insert(&file, [2, 1]));
    for (i, (entry, _)) in file.folios[256..].iter_mut().enumerate() {
        *entry = entry_of(entry.pfn().0, 3, 264 + i as u64);
    }
    assert!(insert(&file, [1, 2]) && insert(&file, [2, 1]));
    // The last folio may extend beyond the end of the file.
    file.folios[511] = (entry_of(FOLIOS / PAGE + 4096, 3, 520), 3);
    file.header.size = 521 * PAGE;
    assert_eq!(file.walk(&file.memory()), (512, Ok(())));
    file.header.size = 520 * PAGE;
    let expected = Damage::FolioIndex { index: 520 };
    assert_eq!(file.walk(&file.memory()), (511, Err(expected)));
}

/// The C implementation skips an entry of frame 0. A file that lost a page must not arrive with a hole.
#[test]
fn frame_0_is_damage() {
    let mut file = full_array(3);
    for at in [0, 63, 300, 767] {
        let (entry, order) = file.folios[at];
        file.folios[at].0 = entry_of(0, 3, entry.index.0);
        let expected = Damage::Address { at: PhysAddr(0) };
        assert_eq!(file.walk(&file.memory()), (at, Err(expected)));
        file.folios[at] = (entry, order);
    }
}

/// A file whose array has `array_pages` full array pages. All folios have order 0.
fn full_array(array_pages: usize) -> PreservedFile {
    let nr = array_pages * 256;
    PreservedFile {
        header: Header {
            pos: 0,
            size: nr as u64 * PAGE,
            seals: 0,
            flags: 0,
            nr_folios: nr as u64,
            first: CHUNKS,
            total_pages: array_pages as u32,
            array_flags: vmalloc::FLAG_ALLOC,
            order: 0,
        },
        folios: (0..nr as u64)
            .map(|i| (entry_of(FOLIOS / PAGE + i, 3, i), 0))
            .collect(),
    }
}

#[test]
fn second_chunk_is_read() {
    let file = full_array(PAGES_PER_CHUNK + 1);
    let memory = file.memory();
    assert_eq!(file.walk(&memory), (file.folios.len(), Ok(())));
    assert_eq!(memory.unclaimed(), 0);

    let mut memory = file.memory();
    memory.remove(PreservedFile::chunk_addr(1));
    let expected = Damage::Address {
        at: PhysAddr(PreservedFile::chunk_addr(1)),
    };
    assert_eq!(file.walk(&memory), (PAGES_PER_CHUNK * 256, Err(expected)));
}

/// KHO adds an empty chunk as soon as one is full.
#[test]
fn empty_chunk_may_follow_a_full_one() {
    let file = full_array(PAGES_PER_CHUNK);
    let mut memory = file.memory();
    let mut chunk = vec![0; PAGE_SIZE];
    for nr in 0..PAGES_PER_CHUNK {
        vmalloc::set_page(&mut chunk, nr, PhysAddr(file.array_page_addr(nr)));
    }
    vmalloc::set_next(&mut chunk, PhysAddr(PreservedFile::chunk_addr(1)));
    memory.put(CHUNKS, &chunk);
    memory.put(PreservedFile::chunk_addr(1), &[]);
    assert_eq!(file.walk(&memory), (file.folios.len(), Ok(())));
    assert_eq!(memory.unclaimed(), 0);
}

/// The walk claims at most as many chunks as the array needs, and each of them once.
#[test]
fn chunks_are_bounded_and_claimed_once() {
    let file = full_array(1);
    let mut memory = file.memory();
    for i in 0..9 {
        let mut chunk = vec![0; PAGE_SIZE];
        vmalloc::set_next(&mut chunk, PhysAddr(PreservedFile::chunk_addr(i + 1)));
        memory.put(PreservedFile::chunk_addr(i), &chunk);
    }
    assert_eq!(file.walk(&memory), (0, Err(Damage::ArrayForm)));

    // A chunk that names itself as the next one cannot be claimed twice.
    let file = full_array(PAGES_PER_CHUNK);
    let mut memory = file.memory();
    let mut chunk = vec![0; PAGE_SIZE];
    vmalloc::set_next(&mut chunk, PhysAddr(CHUNKS));
    memory.put(CHUNKS, &chunk);
    let expected = Damage::Address {
        at: PhysAddr(CHUNKS),
    };
    assert_eq!(file.walk(&memory), (0, Err(expected)));
}

/// The header of a file without folios must not name an array, and the walk claims nothing.
#[test]
fn file_without_folios_has_no_array() {
    let mut file = full_array(1);
    file.header.nr_folios = 0;
    assert_eq!(
        Memfd::new(file.header).err(),
        Some(Damage::ArrayLength {
            entries: 0,
            capacity: 256
        })
    );
    (file.header.first, file.header.total_pages) = (0, 0);
    let memory = file.memory();
    assert_eq!(file.walk(&memory), (0, Ok(())));
    assert_eq!(memory.unclaimed(), memory.len());
}

/// Nobody initializes the content after the empty entry, so the reader must ignore it.
#[test]
fn content_after_the_empty_entry_is_ignored() {
    for count in [1, 63, 64, 65, 255] {
        let mut file = full_array(1);
        file.folios.truncate(count);
        file.header.nr_folios = count as u64;
        let mut memory = file.memory();
        let mut page = vec![0xa5; PAGE_SIZE];
        for (i, (entry, _)) in file.folios.iter().enumerate() {
            entry.store(&mut page[i * FolioEntry::SIZE..]);
        }
        FolioEntry::EMPTY.store(&mut page[count * FolioEntry::SIZE..]);
        memory.put_order(file.array_page_addr(0), 0, &page);
        assert_eq!(file.walk(&memory), (count, Ok(())), "{count}");
        // If the entry there is not empty, the header counts too few folios.
        let mut memory = file.memory();
        page[count * FolioEntry::SIZE] = 1;
        memory.put_order(file.array_page_addr(0), 0, &page);
        let expected = Damage::ArrayLength {
            entries: count as u64,
            capacity: count as u64 + 1,
        };
        assert_eq!(file.walk(&memory).1, Err(expected), "{count}");
    }
}
