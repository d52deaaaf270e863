// SPDX-License-Identifier: GPL-2.0-only

//! Each reader accepts valid values and reports the damage of each value that is out of bounds.
//!
//! The values are chosen: the bounds and their neighbors. `properties` generates others.

use crate::{
    abi::{
        array::Placement,
        chain::{self, BlockHeader, Survey, MAX_BLOCKS},
        flb::{FlbEntry, FlbHeader},
        luo::{padded, until_nul, FileEntry, Root, SessionEntry, COMPATIBLE},
        memfd::{FolioEntry, Header, Memfd},
        units::{Order, PageIndex, Pfn},
        vmalloc::{self, Area, Descriptor},
        Damage, Memory, PhysAddr, Record, PAGE_SIZE,
    },
    memory::{PageCache, Pages},
};

const PAGE: u64 = PAGE_SIZE as u64;

/// The encoding of a record.
pub(crate) fn bytes_of<R: Record>(record: &R) -> Vec<u8> {
    let mut bytes = vec![0; R::SIZE];
    record.store(&mut bytes);
    bytes
}

/// An entry of the folio array.
pub(crate) fn entry_of(pfn: u64, flags: u64, index: u64) -> FolioEntry {
    FolioEntry::new(Pfn(pfn), flags, PageIndex(index))
}

/// A valid order.
pub(crate) fn order_of(order: u8) -> Order {
    Order::new(order.into()).expect("tests use valid orders")
}

/// The header of a block; its entries are 0.
fn block(next: u64, count: u64) -> Vec<u8> {
    bytes_of(&BlockHeader { next, count })
}

fn root() -> Root {
    Root {
        compatible: COMPATIBLE,
        liveupdate_num: 7,
        sessions: PAGE,
        flbs: 2 * PAGE,
    }
}

#[test]
fn root_is_read_at_its_address() {
    let mut memory = Pages::default();
    memory.put(PAGE, &bytes_of(&root()));
    assert_eq!(Root::read(&memory, PhysAddr(PAGE), 32), Ok(root()));
    assert_eq!(Root::read(&memory, PhysAddr(PAGE), 4096), Ok(root()));
}

#[test]
fn root_damage_is_reported() {
    let mut memory = Pages::default();
    let other = Root {
        compatible: *b"luo-v6\0\0",
        ..root()
    };
    memory.put(PAGE, &bytes_of(&root()));
    memory.put(2 * PAGE, &bytes_of(&other));
    assert_eq!(
        Root::read(&memory, PhysAddr(PAGE), 31),
        Err(Damage::RootSize { size: 31 })
    );
    assert_eq!(
        Root::read(&memory, PhysAddr(2 * PAGE), 32),
        Err(Damage::RootVersion {
            version: *b"luo-v6\0\0"
        })
    );
    for at in [0, PAGE + 8, 3 * PAGE, u64::MAX] {
        let at = PhysAddr(at);
        assert_eq!(Root::read(&memory, at, 32), Err(Damage::Address { at }));
    }
}

#[test]
fn strings_are_escaped_and_bounded() {
    assert_eq!(
        Damage::RootVersion {
            version: *b"luo\n\x1b\xff\0x"
        }
        .to_string(),
        "the root is \"luo\\n\\x1b\\xff\" and not \"luo-v5\""
    );
    assert_eq!(
        Damage::Handler { name: [b'x'; 48] }.to_string(),
        format!("no handler for \"{}\"", "x".repeat(48))
    );
}

#[test]
fn survey_counts_blocks_and_entries() {
    let mut memory = Pages::default();
    memory.put(PAGE, &block(3 * PAGE, 51));
    memory.put(3 * PAGE, &block(2 * PAGE, 1));
    memory.put(2 * PAGE, &block(0, 9));
    let found = Survey {
        blocks: 3,
        entries: 61,
    };
    assert_eq!(
        chain::survey::<SessionEntry>(&memory, PhysAddr(PAGE)),
        Ok(found)
    );
    assert_eq!(
        chain::survey::<SessionEntry>(&memory, PhysAddr(0)),
        Ok(Survey::default())
    );
}

#[test]
fn damaged_link_is_reported() {
    for next in [PAGE / 2, 7 * PAGE, u64::MAX] {
        let mut memory = Pages::default();
        memory.put(PAGE, &block(next, 1));
        let damage = Err(Damage::Address { at: PhysAddr(next) });
        assert_eq!(chain::survey::<FileEntry>(&memory, PhysAddr(PAGE)), damage);
    }
}

#[test]
fn cyclic_chain_is_too_long() {
    let mut memory = Pages::default();
    memory.put(PAGE, &block(2 * PAGE, 1));
    memory.put(2 * PAGE, &block(PAGE, 1));
    memory.put(3 * PAGE, &block(3 * PAGE, 1));
    for head in [PAGE, 3 * PAGE] {
        let found = chain::survey::<FileEntry>(&memory, PhysAddr(head));
        assert_eq!(found, Err(Damage::ChainLength));
    }
}

#[test]
fn chain_has_at_most_max_blocks() {
    let mut memory = Pages::default();
    let last = MAX_BLOCKS as u64;
    for i in 1..=last {
        memory.put(
            i * PAGE,
            &block(if i < last { (i + 1) * PAGE } else { 0 }, 1),
        );
    }
    let found = chain::survey::<FileEntry>(&memory, PhysAddr(PAGE));
    assert_eq!(found.map(|f| f.blocks), Ok(MAX_BLOCKS));
    memory.put(last * PAGE, &block((last + 1) * PAGE, 1));
    memory.put((last + 1) * PAGE, &block(0, 1));
    let found = chain::survey::<FileEntry>(&memory, PhysAddr(PAGE));
    assert_eq!(found, Err(Damage::ChainLength));
}

#[test]
fn block_count_is_from_1_to_the_capacity() {
    for (count, fits) in [
        (0, false),
        (1, true),
        (63, true),
        (64, false),
        (u64::MAX, false),
    ] {
        let header = BlockHeader { next: 0, count };
        let expected = if fits {
            Ok(header)
        } else {
            Err(Damage::BlockCount { count })
        };
        assert_eq!(chain::check::<FileEntry>(header), expected);
    }
}

#[test]
fn string_ends_at_its_first_nul() {
    assert_eq!(until_nul(b"abc\0x\0"), Some(&b"abc"[..]));
    assert_eq!(until_nul(b"\0"), Some(&b""[..]));
    assert_eq!(until_nul(b"abc"), None);
    assert_eq!(until_nul(b""), None);
    assert_eq!(padded::<4>("ab"), *b"ab\0\0");
    assert_eq!(padded::<4>("abcd"), *b"abc\0");
}

#[test]
fn entry_count_must_match_that_of_the_owner() {
    let found = Survey {
        blocks: 2,
        entries: 64,
    };
    assert_eq!(found.with_entries(64), Ok(found));
    for expected in [0, 63, 65, u64::MAX] {
        assert_eq!(
            found.with_entries(expected),
            Err(Damage::EntryCount {
                expected,
                found: 64
            })
        );
    }
    assert_eq!(Survey::default().with_entries(0), Ok(Survey::default()));
}

#[test]
fn blocks_are_sized_and_written() {
    assert_eq!(chain::entries_per_block::<SessionEntry>(), 51);
    assert_eq!(chain::entries_per_block::<FileEntry>(), 63);
    for (count, blocks) in [(0, 0), (1, 1), (63, 1), (64, 2), (126, 2), (127, 3)] {
        assert_eq!(chain::blocks_for::<FileEntry>(count), blocks);
    }
    let mut block = vec![0xa5; PAGE_SIZE];
    chain::set_count(&mut block, 3);
    chain::set_next(&mut block, PhysAddr(7 * PAGE));
    assert_eq!(
        BlockHeader::load(&block),
        BlockHeader {
            next: 7 * PAGE,
            count: 3,
        }
    );
    assert!(block[BlockHeader::SIZE..].iter().all(|b| *b == 0xa5));
}

#[test]
fn records_have_the_sizes_of_the_abi() {
    assert_eq!(Root::SIZE, 32);
    assert_eq!(BlockHeader::SIZE, 16);
    assert_eq!(SessionEntry::SIZE, 80);
    assert_eq!(FileEntry::SIZE, 64);
    assert_eq!(FlbHeader::SIZE, 16);
    assert_eq!(FlbEntry::SIZE, 64);
    assert_eq!(Header::SIZE, 48);
    assert_eq!(FolioEntry::SIZE, 16);
    assert_eq!(Descriptor::SIZE, 16);
}

#[test]
fn record_is_read_at_the_start_of_a_page() {
    let mut memory = Pages::default();
    memory.put(PAGE, &block(PAGE, 3));
    // A null address ends a chain, so nothing is read at 0 even if KHO preserved that page.
    memory.put(0, &block(PAGE, 3));
    let read = |at| memory.record::<BlockHeader>(PhysAddr(at));
    assert_eq!(
        read(PAGE),
        Ok(BlockHeader {
            next: PAGE,
            count: 3,
        })
    );
    for at in [0, 1, PAGE + 1, PAGE + 16, 2 * PAGE, 1 << 63, u64::MAX] {
        assert_eq!(read(at), Err(Damage::Address { at: PhysAddr(at) }));
    }
    // This record is larger than the buffer for a single record.
    assert!(memory.record::<SessionEntry>(PhysAddr(PAGE)).is_err());
}

/// The log names the damaged value, on one short line.
#[test]
fn damage_text_names_the_value() {
    for (damage, value) in [
        (
            Damage::Address {
                at: PhysAddr(0xabc),
            },
            "0xabc",
        ),
        (Damage::RootSize { size: 31 }, "31"),
        (
            Damage::RootVersion {
                version: *b"luo-v9\n\0",
            },
            "luo-v9\\n",
        ),
        (Damage::RootVersion { version: [b'x'; 8] }, "\"xxxxxxxx\""),
        (Damage::BlockCount { count: 64 }, "64"),
        (Damage::ChainLength, "chain"),
        (
            Damage::EntryCount {
                expected: 77,
                found: 88,
            },
            "88 entries instead of 77",
        ),
        (Damage::SessionName, "name"),
        (Damage::DuplicateSession, "same name"),
        (Damage::DuplicateToken { token: 0xabc }, "0xabc"),
        (
            Damage::FlbList {
                pages: 2,
                count: 70,
            },
            "70 objects in 2 pages",
        ),
        (
            Damage::Flb {
                name: padded("iommu\n"),
            },
            "FLB \"iommu\\n\" without",
        ),
        (Damage::Handler { name: [b'x'; 48] }, "xxx\""),
        (
            Damage::FolioCount {
                folios: 3,
                pages: 2,
            },
            "3",
        ),
        (Damage::FolioOrder { order: 10 }, "10"),
        (Damage::FileSize { size: 1 << 63 }, "0x8000000000000000"),
        (Damage::Seals { seals: 0x40 }, "0x40"),
        (Damage::Flags { flags: 0x80 }, "0x80"),
        (Damage::FolioIndex { index: 0x123 }, "0x123"),
        (Damage::FolioOverlap, "overlap"),
        (
            Damage::ArrayLength {
                entries: 300,
                capacity: 256,
            },
            "256 for 300",
        ),
        (Damage::ArrayForm, "array"),
    ] {
        let text = damage.to_string();
        assert!(text.contains(value), "{text} does not name {value}");
        assert!(!text.contains('\n') && text.len() < 80, "{text}");
    }
}

/// A valid header: 300 folios in two array pages.
fn header() -> Header {
    Header {
        pos: 5,
        size: 300 * PAGE,
        seals: 0,
        flags: 0,
        nr_folios: 300,
        first: PAGE,
        total_pages: 2,
        array_flags: vmalloc::FLAG_ALLOC,
        order: 0,
    }
}

/// The damage that [`Memfd::new`] finds in the header after `change`.
fn damage_after(change: impl FnOnce(&mut Header)) -> Option<Damage> {
    let mut header = header();
    change(&mut header);
    Memfd::new(header).err()
}

#[test]
fn memfd_header_damage_is_reported() {
    assert_eq!(damage_after(|_| ()), None);
    assert_eq!(
        damage_after(|h| h.size = 1 << 63),
        Some(Damage::FileSize { size: 1 << 63 })
    );
    for pos in [1 << 63, u64::MAX] {
        assert_eq!(
            damage_after(|h| h.pos = pos),
            Some(Damage::FileSize { size: pos })
        );
    }
    assert_eq!(damage_after(|h| h.pos = (1 << 63) - 1), None);
    assert_eq!(damage_after(|h| h.seals = 0x3f), None);
    assert_eq!(
        damage_after(|h| h.seals = 0x40),
        Some(Damage::Seals { seals: 0x40 })
    );
    assert_eq!(
        damage_after(|h| h.flags = 1),
        Some(Damage::Flags { flags: 1 })
    );
    assert_eq!(
        damage_after(|h| h.size = 299 * PAGE),
        Some(Damage::FolioCount {
            folios: 300,
            pages: 299
        })
    );
    assert_eq!(damage_after(|h| h.size = 299 * PAGE + 1), None);
    assert_eq!(
        damage_after(|h| h.total_pages = 1),
        Some(Damage::ArrayLength {
            entries: 300,
            capacity: 256
        })
    );
    assert_eq!(
        damage_after(|h| h.total_pages = 3),
        Some(Damage::ArrayLength {
            entries: 300,
            capacity: 768
        })
    );
    // One array page is exactly full; a second one, or none, is damage.
    for (order, nr) in [(0, 256), (1, 512), (3, 2048)] {
        let form = |h: &mut Header, array_pages: u32| {
            (h.size, h.nr_folios, h.order) = (nr * PAGE, nr, order);
            h.total_pages = array_pages << order;
        };
        assert_eq!(damage_after(|h| form(h, 1)), None);
        assert_eq!(
            damage_after(|h| form(h, 2)),
            Some(Damage::ArrayLength {
                entries: nr,
                capacity: 2 * nr
            })
        );
        assert_eq!(
            damage_after(|h| form(h, 0)),
            Some(Damage::ArrayLength {
                entries: nr,
                capacity: 0
            })
        );
    }
    assert_eq!(
        damage_after(|h| (h.size, h.nr_folios, h.total_pages, h.first) = (0, 0, 0, 0)),
        None
    );
    assert_eq!(
        damage_after(|h| h.nr_folios = 0),
        Some(Damage::ArrayLength {
            entries: 0,
            capacity: 512
        })
    );
    assert_eq!(
        damage_after(|h| (h.nr_folios, h.total_pages) = (0, 0)),
        Some(Damage::ArrayLength {
            entries: 0,
            capacity: 0
        })
    );
}

#[test]
fn array_descriptor_damage_is_reported() {
    let check = |total_pages, flags, order| {
        Descriptor {
            first: PAGE,
            total_pages,
            flags,
            order,
        }
        .check()
    };
    let area = |pages, order| Area {
        pages,
        order: order_of(order),
    };
    assert_eq!(check(1, 1, 0), Ok(area(1, 0)));
    assert_eq!(check(511, 1, 0), Ok(area(511, 0)));
    assert_eq!(check(1024, 3, 9), Ok(area(2, 9)));
    assert_eq!(check(0, 1, 0), Err(Damage::ArrayForm));
    assert_eq!(check(3, 1, 1), Err(Damage::ArrayForm));
    assert_eq!(check(1, 4, 0), Err(Damage::ArrayForm));
    assert_eq!(check(1 << 11, 1, 11), Err(Damage::ArrayForm));
    assert_eq!(check(u32::MAX, 1, 0), Ok(area(u32::MAX as usize, 0)));
    assert_eq!(check(0, 1, 10), Err(Damage::ArrayForm));
    assert_eq!(check(1, u16::MAX, 0), Err(Damage::ArrayForm));
    assert_eq!(check(1, 1, u16::MAX), Err(Damage::ArrayForm));
    assert_eq!([1, 510, 511, 1022].map(vmalloc::max_chunks), [1, 1, 2, 3]);
}

#[test]
fn folios_are_aligned_and_begin_in_the_file() {
    let placement = Placement::new(PageIndex(1026), order_of(9));
    // Each folio has an index and an order, and fits or not. The last one may reach over the end.
    for (index, order, fits) in [
        (0, 0, true),
        (1, 9, false),
        (512, 9, true),
        (1024, 9, true),
        (600, 0, true),
        (1025, 0, true),
        (1026, 0, false),
        (1536, 9, false),
        (u64::MAX, 0, false),
    ] {
        let expected = match fits {
            true => Ok(()),
            false => Err(Damage::FolioIndex { index }),
        };
        let entry = entry_of(1, 3, index);
        assert_eq!(placement.check(&entry, order_of(order)), expected);
    }
    let flags = placement.check(&entry_of(1, 4, 1025), Order::PAGE);
    assert_eq!(flags, Err(Damage::Flags { flags: 4 }));
    let large = placement.check(&entry_of(1, 3, 0), order_of(10));
    assert_eq!(large, Err(Damage::FolioOrder { order: 10 }));
}

/// The simulated page cache refuses what the page cache of the kernel would.
#[test]
fn page_cache_has_one_folio_at_an_index() {
    let mut cache = PageCache::default();
    assert!(cache.insert(8, 3, 1) && cache.insert(4, 2, 1) && cache.insert(16, 0, 4));
    for (index, order) in [(8, 0), (15, 0), (8, 3), (0, 4), (4, 0), (0, 3), (19, 0)] {
        assert!(!cache.insert(index, order, 1), "{index}");
    }
    assert!(!cache.insert(2, 0, 3), "the third of them overlaps");
    assert!(!cache.insert(3, 0, 1), "the second of them was inserted");
    assert!(cache.insert(0, 0, 2) && cache.insert(20, 2, 1));
}

#[test]
fn order_is_at_most_10() {
    assert_eq!(Order::new(10).map(Order::pages), Some(1024));
    for order in [11, 63, 64, 255, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(Order::new(order), None);
    }
}
