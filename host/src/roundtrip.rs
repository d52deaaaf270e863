// SPDX-License-Identifier: GPL-2.0-only

//! [`Memfd`] reads back the folio array that [`ArrayWriter`] writes, and so does the C implementation.

use std::{cell::Cell, convert::Infallible, rc::Rc};

use proptest::prelude::*;

use crate::{
    abi::{
        array::{ArrayWriter, FolioRun, PageList, ENTRIES_PER_PAGE},
        memfd::{FolioEntry, Header, Memfd},
        units::{PageIndex, Pfn},
        vmalloc::{self, PAGES_PER_CHUNK},
        PhysAddr, Record, PAGE_SIZE,
    },
    memory::Pages,
};

/// A list of pages. An empty copy of a list shares `next` and `left` with it, so that no two pages
/// have the same frame.
#[derive(Clone)]
struct List {
    /// The frame and content of each page.
    pages: Vec<(u64, Vec<u8>)>,
    /// The frame of the next page.
    next: Rc<Cell<u64>>,
    /// How many more pages can be allocated.
    left: Rc<Cell<usize>>,
}

impl List {
    fn new() -> Self {
        Self {
            pages: Vec::new(),
            next: Rc::new(Cell::new(1 << 20)),
            left: Rc::new(Cell::new(usize::MAX)),
        }
    }

    /// An empty list that shares `next` and `left`.
    fn empty(&self) -> Self {
        Self {
            pages: Vec::new(),
            ..self.clone()
        }
    }
}

/// No page is left to allocate.
#[derive(Debug, PartialEq)]
struct NoPages;

impl From<Infallible> for NoPages {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl PageList for List {
    type Error = NoPages;

    fn grow(&mut self) -> Result<(), NoPages> {
        self.left
            .set(self.left.get().checked_sub(1).ok_or(NoPages)?);
        let pfn = self.next.get();
        self.next.set(pfn + 1);
        // The writer must not depend on the initial content of a page.
        self.pages.push((pfn, vec![0xa5; PAGE_SIZE]));
        Ok(())
    }

    fn len(&self) -> usize {
        self.pages.len()
    }

    fn addr(&self, nr: usize) -> PhysAddr {
        Pfn(self.pages[nr].0).addr()
    }

    fn bytes(&self, nr: usize) -> &[u8] {
        &self.pages[nr].1
    }

    fn bytes_mut(&mut self, nr: usize) -> &mut [u8] {
        &mut self.pages[nr].1
    }
}

/// The frame of the folio at index 0.
const FOLIOS: u64 = 1 << 30;

/// The entry of a folio of one page.
fn entry(index: u64) -> FolioEntry {
    FolioEntry::new(Pfn(FOLIOS + index), 3, PageIndex(index))
}

/// A writer of an empty array.
fn writer() -> ArrayWriter<List> {
    let list = List::new();
    ArrayWriter::new(list.empty(), list)
}

/// Writes entries for single pages at `indexes`, as many at a time as the writer reserves.
fn write(array: &mut ArrayWriter<List>, indexes: &[u64]) -> Result<(), NoPages> {
    let mut left = indexes;
    while !left.is_empty() {
        let count = array.reserve()?.min(left.len());
        array.append(left[..count].iter().copied().map(entry));
        left = &left[count..];
    }
    Ok(())
}

/// Preserves `array` and its folios, and reads the indexes of all folios back.
fn read_back(mut array: ArrayWriter<List>, pages: u64) -> Vec<u64> {
    let descriptor = array.descriptor();
    let size = pages * PAGE_SIZE as u64;
    let header = Header::new(0, size, 0, array.len() as u64, descriptor);
    let mut memory = Pages::default();
    for entry in array.entries() {
        memory.put(entry.pfn().addr().0, &[]);
    }
    let (chunks, array_pages) = array.into_lists();
    for (pfn, content) in chunks.pages.iter().chain(&array_pages.pages) {
        memory.put(Pfn(*pfn).addr().0, content);
    }
    let mut indexes = Vec::new();
    Memfd::new(header)
        .expect("a written header is valid")
        .for_each_run(&memory, |folios, run: &FolioRun| {
            assert_eq!((run.flags, run.pages), (3, folios.len() as u64));
            indexes.extend(run.index.0..run.index.0 + run.pages);
        })
        .expect("a written array can be read");
    assert_eq!(
        memory.unclaimed(),
        usize::from(header.nr_folios == 0) * memory.len()
    );
    indexes
}

/// Reads the indexes of all folios as the C implementation does: the array pages follow each other in
/// one area, of which `nr_folios` entries are read; those without a frame are skipped.
fn read_as_c(array: &mut ArrayWriter<List>) -> Vec<u64> {
    let (len, descriptor) = (array.len(), array.descriptor());
    let (chunks, pages) = array.lists();
    let content = |at: u64| {
        let all = &mut chunks.pages.iter().chain(&pages.pages);
        let page = all.find(|(pfn, _)| Pfn(*pfn).addr().0 == at);
        &page.expect("an address leads to a page of the array").1
    };
    let mut area = Vec::new();
    let mut chunk = descriptor.map_or(0, |descriptor| descriptor.first);
    while chunk != 0 {
        let of_chunk = content(chunk);
        let pages = (0..PAGES_PER_CHUNK).map(|slot| vmalloc::page(of_chunk, slot).0);
        for page in pages.take_while(|at| *at != 0) {
            area.extend_from_slice(content(page));
        }
        chunk = vmalloc::next(of_chunk).0;
    }
    let pages = descriptor.map_or(0, |descriptor| descriptor.total_pages);
    assert_eq!(area.len(), pages as usize * PAGE_SIZE);
    let entries = area.chunks_exact(FolioEntry::SIZE).take(len);
    entries
        .map(FolioEntry::load)
        .filter(|entry| entry.pfn() != Pfn::NULL)
        .map(|entry| entry.index.0)
        .collect()
}

/// Ascending indexes with holes.
fn indexes(max: usize) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1..4u64, 0..max).prop_map(|steps| {
        let sums = steps.iter().scan(0, |sum, step| {
            *sum += step;
            Some(*sum - 1)
        });
        sums.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn written_array_is_read_back(indexes in indexes(2000)) {
        let mut array = writer();
        write(&mut array, &indexes).unwrap();
        prop_assert!(array.entries().eq(indexes.iter().copied().map(entry)));
        prop_assert_eq!(read_back(array, 8000), indexes);
    }

    /// Entries are appended after an array that was described, as often as the kexec is refused. Pages
    /// may run out meanwhile. Both readers find all entries, in the order in which they were written.
    #[test]
    fn late_entries_are_read_back(
        all in indexes(1500), choice: u64, rounds in 1..6u64, pages in 1..9usize
    ) {
        let round_of = |index: &u64| (choice >> (index % 60)) % rounds;
        let list = List::new();
        let left = list.left.clone();
        let mut array = ArrayWriter::new(list.empty(), list);
        let mut written = Vec::new();
        for round in 0..rounds {
            let late: Vec<_> = all.iter().copied().filter(|i| round_of(i) == round).collect();
            left.set(pages);
            let before = array.len();
            let result = write(&mut array, &late);
            let added = array.len() - before;
            array.descriptor();
            prop_assert_eq!(result.is_err(), added < late.len());
            left.set(usize::MAX);
            write(&mut array, &late[added..]).unwrap();
            written.extend(late);
            let described = array.descriptor();
            prop_assert_eq!(described.is_none(), written.is_empty());
            prop_assert!(array.entries().eq(written.iter().copied().map(entry)));
        }
        prop_assert_eq!(read_as_c(&mut array), &written[..]);
        prop_assert_eq!(read_back(array, 8000), written);
    }

    /// When pages run out, the entries written before can be read, and the next write continues
    /// there.
    #[test]
    fn writing_continues_after_pages_ran_out(count in 1..3000u64, pages in 0..14usize) {
        let all: Vec<_> = (0..count).collect();
        let list = List::new();
        list.left.set(pages);
        let left = list.left.clone();
        let mut array = ArrayWriter::new(list.empty(), list);
        let result = write(&mut array, &all);
        let needed = all.len().div_ceil(ENTRIES_PER_PAGE) + 1;
        prop_assert_eq!(result.is_ok(), needed <= pages);
        let written = array.len();
        prop_assert!(array.entries().eq(all[..written].iter().copied().map(entry)));
        left.set(usize::MAX);
        write(&mut array, &all[written..]).unwrap();
        prop_assert_eq!(read_back(array, count), all);
    }
}

/// A chunk is exactly full, or a second one follows, with or without an array page.
#[test]
fn arrays_of_one_and_two_chunks_are_read_back() {
    for array_pages in [511, 512, 1023] {
        let count = array_pages * ENTRIES_PER_PAGE as u64;
        for count in [count, count - 1] {
            let all: Vec<_> = (0..count).collect();
            let mut array = writer();
            write(&mut array, &all).unwrap();
            assert!(read_back(array, count) == all, "{count} folios");
        }
    }
    let full = 511 * ENTRIES_PER_PAGE;
    let all: Vec<_> = (0..full as u64).collect();
    let list = List::new();
    // Pages suffice for a second chunk, but not for an array page in it.
    list.left.set(511 + 2);
    let mut array = ArrayWriter::new(list.empty(), list);
    write(&mut array, &all).unwrap();
    assert_eq!(array.reserve(), Err(NoPages));
    assert!(read_back(array, full as u64) == all);
}

#[test]
fn empty_array_has_no_descriptor() {
    let mut array = writer();
    assert_eq!(array.descriptor(), None);
    assert!(read_back(array, 1).is_empty());
}
