// SPDX-License-Identifier: GPL-2.0-only

//! One function for each fuzz target: any bytes go in, and no reader may panic, overflow or run
//! for long. What is accepted must hold what the reader promises.

use crate::{
    abi::{
        chain::{self, MAX_BLOCKS},
        luo::{until_nul, FileEntry, Root, SessionEntry},
        memfd::{FolioEntry, FolioOrder, Header, Memfd},
        vmalloc::{self, Descriptor},
        PhysAddr, Record, PAGE_SIZE,
    },
    memory::Pages,
};

/// Cuts the input into pages; the first byte of each chooses its address, out of few, so that
/// chains meet.
fn pages(data: &[u8]) -> Pages {
    let mut pages = Pages::default();
    for chunk in data.chunks(96) {
        let (at, content) = chunk.split_at(1);
        pages.put(u64::from(at[0] % 16) * PAGE_SIZE as u64, content);
    }
    pages
}

/// The root.
pub fn root(data: &[u8]) {
    let Some((size, rest)) = data.split_first_chunk() else {
        return;
    };
    let mut memory = Pages::default();
    memory.put(0x1000, rest);
    let size = u64::from_ne_bytes(*size);
    if let Ok(root) = Root::read(&memory, PhysAddr(0x1000), size) {
        assert!(size >= Root::SIZE as u64);
        assert_eq!(&root.compatible, b"luo-v5\0\0");
    }
}

/// Chains of blocks, of both kinds.
pub fn chains(data: &[u8]) {
    let memory = pages(data);
    for first in 0..16 {
        let head = PhysAddr(first * PAGE_SIZE as u64);
        for found in [
            chain::survey::<SessionEntry>(&memory, head),
            chain::survey::<FileEntry>(&memory, head),
        ] {
            if let Ok(found) = found {
                assert!(found.blocks <= MAX_BLOCKS && found.entries >= found.blocks);
            }
        }
    }
}

/// The entries of a block.
pub fn entries(data: &[u8]) {
    let mut block = data.to_vec();
    block.resize(PAGE_SIZE, 0);
    let sessions = chain::entries::<SessionEntry>(&block).count();
    assert!(sessions <= chain::entries_per_block::<SessionEntry>());
    for session in chain::entries::<SessionEntry>(&block) {
        if let Some(name) = until_nul(&session.name) {
            assert!(name.len() < 64 && !name.contains(&0));
        }
    }
    let files = chain::entries::<FileEntry>(&block).count();
    assert!(files <= chain::entries_per_block::<FileEntry>());
}

/// The header of a memfd.
pub fn memfd(data: &[u8]) {
    let Ok(memfd) = Memfd::new(Header::load(data)) else {
        return;
    };
    assert!(memfd.size() >= 0 && memfd.pos() >= 0);
    assert!(memfd.nr_folios() <= memfd.pages());
    if let Ok(parts) = memfd.array().check() {
        let room = (parts << memfd.array().order) * (PAGE_SIZE / FolioEntry::SIZE);
        assert!(room as u64 >= memfd.nr_folios());
        assert!(vmalloc::lists_for(parts) * vmalloc::PARTS_PER_CHUNK >= parts);
    }
}

/// The array of folios.
pub fn folios(data: &[u8]) {
    let Some((pages, rest)) = data.split_first_chunk() else {
        return;
    };
    let pages = u64::from_ne_bytes(*pages);
    let mut order = FolioOrder::new(pages, 9);
    let mut end = 0;
    for chunk in rest.chunks_exact(FolioEntry::SIZE + 1) {
        let (size, entry) = chunk.split_at(1);
        let entry = FolioEntry::load(entry);
        assert!(entry.pfn() < 1 << 52 && entry.flags() < 1 << 12);
        let size = u32::from(size[0] % 11);
        if order.accept(&entry, size).is_ok() {
            assert!(entry.index >= end && entry.index < pages);
            end = entry.index + (1 << size);
        }
    }
    let _ = Descriptor::load(rest).check();
}
