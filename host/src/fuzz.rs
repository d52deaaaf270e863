// SPDX-License-Identifier: GPL-2.0-only

//! No reader panics, overflows or runs for long, whatever bytes it reads. This file has one
//! function for each fuzz target.
//!
//! A value that a reader accepts must keep the promises of the reader. Where a model of a few lines
//! can predict the result, the reader must return the result of the model.

use crate::{
    abi::{
        array::FolioRun,
        chain::{self, BlockHeader, Survey, MAX_BLOCKS},
        luo::{until_nul, FileEntry, Root, SessionEntry, COMPATIBLE},
        memfd::{FolioEntry, Header, Memfd, ALL_SEALS},
        units::{Order, Pfn},
        vmalloc::{self, Area, PAGES_PER_CHUNK},
        Damage, Memory, PhysAddr, Record, PAGE_SIZE,
    },
    claims,
    memory::{PageCache, Pages},
};

/// The number of addresses at which an input can place a piece, the null address included. It is
/// small, so that the links of an input often lead to a piece.
const ADDRESSES: u64 = 16;

/// The largest order of a piece in an input.
const MAX_ORDER: u32 = 2;

/// Cuts the input into pieces of memory. The first byte of each piece chooses its address and
/// order.
fn pages(data: &[u8]) -> Pages {
    let mut pages = Pages::default();
    for chunk in data.chunks(96) {
        let (first, content) = chunk.split_at(1);
        let at = u64::from(first[0]) % ADDRESSES * PAGE_SIZE as u64;
        let order = u32::from(first[0] >> 4) % (MAX_ORDER + 1);
        pages.put_order(at, order, content);
    }
    pages
}

/// `Root::read` agrees with a model at any address and size.
///
/// The input: the size, the address, and the content of the page that holds the root.
pub fn root(data: &[u8]) {
    let Some((size, rest)) = data.split_first_chunk() else {
        return;
    };
    let Some((at, rest)) = rest.split_first_chunk() else {
        return;
    };
    let mut page = rest.to_vec();
    page.resize(PAGE_SIZE, 0);
    let mut memory = Pages::default();
    memory.put(PAGE_SIZE as u64, &page);
    let size = u64::from_ne_bytes(*size);
    let at = PhysAddr(u64::from_ne_bytes(*at));
    let expected = Root::load(&page);
    let expected = if size < Root::SIZE as u64 {
        Err(Damage::RootSize { size })
    } else if at.0 != PAGE_SIZE as u64 {
        Err(Damage::Address { at })
    } else if expected.compatible != COMPATIBLE {
        Err(Damage::RootVersion {
            version: expected.compatible,
        })
    } else {
        Ok(expected)
    };
    assert_eq!(Root::read(&memory, at, size), expected);
}

/// `chain::survey` agrees with a model for sessions and files, and the entries it counts can be
/// read.
pub fn chains(data: &[u8]) {
    let memory = pages(data);
    let head = u64::from(data.first().copied().unwrap_or(0)) % ADDRESSES;
    let head = PhysAddr(head * PAGE_SIZE as u64);
    // A cycle is found when the chain is too long, after ten thousand peeks. To keep the fuzzer
    // fast, only one input of 256 goes that far.
    let to_the_limit = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0;
    check_chain::<SessionEntry>(&memory, head, to_the_limit);
    check_chain::<FileEntry>(&memory, head, to_the_limit);
}

/// The model of `chain::survey`. More blocks than pieces mean a cycle.
fn expected_chain<E: Record>(memory: &Pages, head: PhysAddr) -> Result<Survey, Damage> {
    let mut found = Survey::default();
    let mut at = head;
    while at.0 != 0 {
        if found.blocks > memory.len() {
            return Err(Damage::ChainLength);
        }
        let header: BlockHeader = memory.record(at)?;
        if !(1..=chain::entries_per_block::<E>() as u64).contains(&header.count) {
            return Err(Damage::BlockCount {
                count: header.count,
            });
        }
        found.blocks += 1;
        found.entries += header.count as usize;
        at = PhysAddr(header.next);
    }
    Ok(found)
}

/// Compares the survey of a chain with the model. In a cycle, memory becomes unreadable after a few
/// peeks, unless the survey may go `to_the_limit`.
fn check_chain<E: Record>(memory: &Pages, head: PhysAddr, to_the_limit: bool) {
    let expected = expected_chain::<E>(memory, head);
    let cyclic = expected == Err(Damage::ChainLength);
    let peeks = match cyclic && !to_the_limit {
        true => 2 * ADDRESSES as usize,
        false => MAX_BLOCKS,
    };
    memory.limit(peeks);
    let found = chain::survey::<E>(memory, head);
    memory.limit(usize::MAX);
    if cyclic && !to_the_limit {
        assert!(matches!(found, Err(Damage::Address { at: _ })));
        return;
    }
    assert_eq!(found, expected);
    let Ok(found) = found else {
        return;
    };
    assert_eq!(found.with_entries(found.entries as u64), Ok(found));
    // The surveyed blocks can be read and have the counted entries.
    let mut read = 0;
    let mut at = head;
    for _ in 0..found.blocks {
        let mut block = vec![0; PAGE_SIZE];
        memory
            .peek(at, &mut block)
            .expect("the survey read this block");
        read += chain::entries::<E>(&block).count();
        at = PhysAddr(BlockHeader::load(&block).next);
    }
    assert!(at.is_null() && read == found.entries);
}

/// The entries of a block of sessions or files are bounded by the page and can be written back.
pub fn entries(data: &[u8]) {
    let mut block = [0; PAGE_SIZE];
    let len = data.len().min(PAGE_SIZE);
    block[..len].copy_from_slice(&data[..len]);
    for session in check_entries::<SessionEntry>(&block) {
        check_string(&session.name);
    }
    for file in check_entries::<FileEntry>(&block) {
        check_string(&file.compatible);
    }
}

/// Reads as many entries as the header counts and the page holds, and writes them back.
fn check_entries<E: Record>(block: &[u8]) -> Vec<E> {
    let fit = chain::entries_per_block::<E>();
    let header = BlockHeader::load(block);
    let entries: Vec<E> = chain::entries(block).collect();
    assert_eq!(entries.len() as u64, header.count.min(fit as u64));
    assert_eq!(
        chain::check::<E>(header).is_ok(),
        header.count == entries.len() as u64 && header.count > 0
    );
    let mut copy = vec![0; PAGE_SIZE];
    for (slot, entry) in entries.iter().enumerate() {
        chain::put(&mut copy, slot, entry);
    }
    let end = BlockHeader::SIZE + entries.len() * E::SIZE;
    assert!(copy[BlockHeader::SIZE..end] == block[BlockHeader::SIZE..end]);
    assert!(copy[end..].iter().all(|byte| *byte == 0));
    entries
}

/// A string ends at its first NUL.
fn check_string(field: &[u8]) {
    let end = field.iter().position(|byte| *byte == 0);
    assert_eq!(until_nul(field), end.map(|end| &field[..end]));
}

/// An accepted memfd header keeps the promises of `Memfd`.
pub fn memfd(data: &[u8]) {
    let header = Header::load(data);
    let Ok(memfd) = Memfd::new(header) else {
        return;
    };
    assert!(memfd.size() >= 0 && memfd.size() as u64 == header.size);
    assert!(memfd.pos() >= 0 && memfd.pos() as u64 == header.pos);
    assert!(memfd.seals() & !ALL_SEALS == 0 && header.flags == 0);
    assert!(memfd.nr_folios() <= memfd.pages());
    let array = memfd.array();
    let Ok(area) = array.check() else {
        return;
    };
    let (pages, order) = (array.total_pages >> array.order, u64::from(array.order));
    let expected = Area {
        pages: pages as usize,
        order: Order::new(order).unwrap(),
    };
    assert_eq!(area, expected);
    assert!(vmalloc::max_chunks(area.pages) * PAGES_PER_CHUNK >= area.pages);
    if memfd.nr_folios() > 0 {
        let needed = memfd.nr_folios() as usize * FolioEntry::SIZE;
        let pages = needed.div_ceil(PAGE_SIZE << array.order) << array.order;
        assert_eq!(pages, array.total_pages as usize);
    }
}

/// The walk of a memfd claims each folio once, aligned and in the file, and whether folios overlap
/// in the file does not depend on the order of insertion.
///
/// The input: a header, then pieces that hold chunks, array pages and folios, in any order.
pub fn folios(data: &[u8]) {
    let Some((header, rest)) = data.split_at_checked(Header::SIZE) else {
        return;
    };
    let Ok(memfd) = Memfd::new(Header::load(header)) else {
        return;
    };
    let memory = pages(rest);
    let (mut count, mut cache, mut fits) = (0, PageCache::default(), true);
    let result = memfd.for_each_run(&memory, |folios, run| {
        count += folios.len() as u64;
        check_run(&memfd, &memory, &folios, run);
        fits = fits && cache.insert(run.index.0, folios[0].1, folios.len());
    });
    assert!(count <= memfd.nr_folios());
    let (backwards, backwards_fit) = walk_backwards(&memfd, &pages(rest));
    if result.is_ok() && backwards.is_ok() {
        assert_eq!(fits, backwards_fit);
    }
}

/// The folios of a run were claimed, are aligned, and begin in the file.
fn check_run(memfd: &Memfd, memory: &Pages, folios: &[(u64, u32)], run: &FolioRun) {
    assert!(run.flags < 1 << 2 && !folios.is_empty());
    let mut end = run.index.0;
    for (at, order) in folios {
        assert!((1..1 << 52).contains(&(at / PAGE_SIZE as u64)));
        assert!(end < memfd.pages() && end.is_multiple_of(1 << order));
        assert_eq!(memory.private(Pfn(at / PAGE_SIZE as u64)), Some(0));
        assert_eq!(*order, folios[0].1);
        end += 1 << order;
    }
    assert_eq!(end, run.index.0 + run.pages);
}

/// Takes all slices from the walk, then claims and inserts the folios of the last slice first.
/// Returns the result of the walk, and whether no two folios overlap.
fn walk_backwards(memfd: &Memfd, memory: &Pages) -> (Result<(), Damage>, bool) {
    let mut walk = memfd.walk(memory);
    let mut slices = Vec::new();
    let mut result = loop {
        match walk.next_slice() {
            Ok(Some(slice)) => slices.push(slice),
            result => break result.map(|_| ()),
        }
        assert_eq!(slices.last().unwrap().nr, walk.returned());
    };
    assert!(walk.next_slice().is_ok_and(|slice| slice.is_none()));
    assert!(slices.len() <= memfd.array_pages());
    let (mut cache, mut fits) = (PageCache::default(), true);
    for slice in slices.into_iter().rev() {
        let of_slice = slice.for_each_run(memory, |folios, run| {
            check_run(memfd, memory, &folios, run);
            fits = fits && cache.insert(run.index.0, folios[0].1, folios.len());
        });
        result = result.and(of_slice);
    }
    (result, fits)
}

/// No page has two owners after any claims, whatever KHO marked.
pub fn claims(data: &[u8]) {
    claims::run(data);
}
