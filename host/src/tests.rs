// SPDX-License-Identifier: GPL-2.0-only

//! What each reader accepts, and the reason for which it refuses.

use crate::{
    abi::{
        array::Placement,
        chain::{self, BlockHeader, Survey, MAX_BLOCKS},
        luo::{padded, until_nul, FileEntry, FlbHeader, Root, SessionEntry, COMPATIBLE},
        memfd::{FolioEntry, Header, Memfd},
        units::{Order, PageIndex, Pfn},
        vmalloc::{self, Area, Descriptor},
        Damage, Memory, PhysAddr, Record, PAGE_SIZE,
    },
    memory::Pages,
};

const PAGE: u64 = PAGE_SIZE as u64;

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
    Order::new(order.into()).expect("the test says a valid order")
}

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
fn root_is_read_where_it_is() {
    let mut memory = Pages::default();
    memory.put(PAGE, &bytes_of(&root()));
    assert_eq!(Root::read(&memory, PhysAddr(PAGE), 32), Ok(root()));
    assert_eq!(Root::read(&memory, PhysAddr(PAGE), 4096), Ok(root()));
}

#[test]
fn root_of_a_wrong_size_or_version_or_place() {
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
fn flbs_of_a_wrong_length() {
    let mut memory = Pages::default();
    let mut read = |pages, count| {
        memory.put(PAGE, &bytes_of(&FlbHeader { pages, count }));
        FlbHeader::read(&memory, PhysAddr(PAGE)).map(|header| header.count)
    };
    assert_eq!(read(1, 0), Ok(0));
    assert_eq!(read(1, 63), Ok(63));
    for (pages, count) in [(0, 0), (2, 0), (1, 64), (1, u64::MAX)] {
        assert_eq!(read(pages, count), Err(Damage::FlbList { pages, count }));
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
fn chain_is_counted() {
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
fn chain_with_a_damaged_link() {
    for next in [PAGE / 2, 7 * PAGE, u64::MAX] {
        let mut memory = Pages::default();
        memory.put(PAGE, &block(next, 1));
        let damage = Err(Damage::Address { at: PhysAddr(next) });
        assert_eq!(chain::survey::<FileEntry>(&memory, PhysAddr(PAGE)), damage);
    }
}

#[test]
fn chain_without_an_end() {
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
fn chain_of_the_greatest_length() {
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
fn block_counts() {
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
fn strings_end() {
    assert_eq!(until_nul(b"abc\0x\0"), Some(&b"abc"[..]));
    assert_eq!(until_nul(b"\0"), Some(&b""[..]));
    assert_eq!(until_nul(b"abc"), None);
    assert_eq!(until_nul(b""), None);
    assert_eq!(padded::<4>("ab"), *b"ab\0\0");
    assert_eq!(padded::<4>("abcd"), *b"abc\0");
}

#[test]
fn chain_and_count_of_its_owner() {
    let found = Survey {
        blocks: 2,
        entries: 64,
    };
    assert_eq!(found.expect(64), Ok(found));
    for said in [0, 63, 65, u64::MAX] {
        assert_eq!(
            found.expect(said),
            Err(Damage::EntryCount {
                expected: said,
                found: 64
            })
        );
    }
    assert_eq!(Survey::default().expect(0), Ok(Survey::default()));
}

#[test]
fn chain_is_written() {
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
fn records_of_the_sizes_that_cross() {
    assert_eq!(Root::SIZE, 32);
    assert_eq!(BlockHeader::SIZE, 16);
    assert_eq!(SessionEntry::SIZE, 80);
    assert_eq!(FileEntry::SIZE, 64);
    assert_eq!(FlbHeader::SIZE, 16);
    assert_eq!(Header::SIZE, 48);
    assert_eq!(FolioEntry::SIZE, 16);
    assert_eq!(Descriptor::SIZE, 16);
}

#[test]
fn memory_is_read_where_a_page_begins() {
    let mut memory = Pages::default();
    memory.put(PAGE, &block(PAGE, 3));
    // Null ends chains, whatever is there.
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
    // Nothing that large is read on its own.
    assert!(memory.record::<SessionEntry>(PhysAddr(PAGE)).is_err());
}

/// The log tells which value was wrong.
#[test]
fn refusals_name_the_value() {
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
        assert!(text.contains(value), "{text} does not tell {value}");
        assert!(!text.contains('\n') && text.len() < 80, "{text}");
    }
}

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

fn refused(change: impl FnOnce(&mut Header)) -> Option<Damage> {
    let mut header = header();
    change(&mut header);
    Memfd::new(header).err()
}

#[test]
fn memfd_headers() {
    assert_eq!(refused(|_| ()), None);
    assert_eq!(
        refused(|h| h.size = 1 << 63),
        Some(Damage::FileSize { size: 1 << 63 })
    );
    for pos in [1 << 63, u64::MAX] {
        assert_eq!(
            refused(|h| h.pos = pos),
            Some(Damage::FileSize { size: pos })
        );
    }
    assert_eq!(refused(|h| h.pos = (1 << 63) - 1), None);
    assert_eq!(refused(|h| h.seals = 0x3f), None);
    assert_eq!(
        refused(|h| h.seals = 0x40),
        Some(Damage::Seals { seals: 0x40 })
    );
    assert_eq!(refused(|h| h.flags = 1), Some(Damage::Flags { flags: 1 }));
    assert_eq!(
        refused(|h| h.size = 299 * PAGE),
        Some(Damage::FolioCount {
            folios: 300,
            pages: 299
        })
    );
    assert_eq!(refused(|h| h.size = 299 * PAGE + 1), None);
    assert_eq!(
        refused(|h| h.total_pages = 1),
        Some(Damage::ArrayLength {
            entries: 300,
            capacity: 256
        })
    );
    assert_eq!(
        refused(|h| h.total_pages = 3),
        Some(Damage::ArrayLength {
            entries: 300,
            capacity: 768
        })
    );
    // As many as fit in one part exactly, and one part more.
    for (order, nr) in [(0, 256), (1, 512), (3, 2048)] {
        let form = |h: &mut Header, parts: u32| {
            (h.size, h.nr_folios, h.order) = (nr * PAGE, nr, order);
            h.total_pages = parts << order;
        };
        assert_eq!(refused(|h| form(h, 1)), None);
        assert_eq!(
            refused(|h| form(h, 2)),
            Some(Damage::ArrayLength {
                entries: nr,
                capacity: 2 * nr
            })
        );
        assert_eq!(
            refused(|h| form(h, 0)),
            Some(Damage::ArrayLength {
                entries: nr,
                capacity: 0
            })
        );
    }
    assert_eq!(
        refused(|h| (h.size, h.nr_folios, h.total_pages, h.first) = (0, 0, 0, 0)),
        None
    );
    assert_eq!(
        refused(|h| h.nr_folios = 0),
        Some(Damage::ArrayLength {
            entries: 0,
            capacity: 512
        })
    );
    assert_eq!(
        refused(|h| (h.nr_folios, h.total_pages) = (0, 0)),
        Some(Damage::ArrayLength {
            entries: 0,
            capacity: 0
        })
    );
}

#[test]
fn array_descriptors() {
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

/// Places folios one after the other: the index and order of each, and what must be said.
fn places(mut placement: Placement, folios: &[(u64, u8, bool)]) {
    for (index, order, fits) in folios {
        let expected = match fits {
            true => Ok(()),
            false => Err(Damage::FolioIndex { index: *index }),
        };
        let entry = entry_of(1, 3, *index);
        assert_eq!(placement.place(&entry, order_of(*order)), expected);
    }
}

#[test]
fn folios_in_order() {
    let all = || Placement::to_the_end(PageIndex(0)..PageIndex(1026), order_of(9));
    places(
        all(),
        &[
            (0, 0, true),
            (0, 0, false),
            (1, 9, false),
            (512, 9, true),
            (600, 0, false),
            (1026, 0, false),
            (1025, 0, true),
            (u64::MAX, 0, false),
        ],
    );
    let flags = all().place(&entry_of(1, 4, 1025), Order::PAGE);
    assert_eq!(flags, Err(Damage::Flags { flags: 4 }));
    let large = all().place(&entry_of(1, 3, 0), order_of(10));
    assert_eq!(large, Err(Damage::FolioOrder { order: 10 }));
}

/// Where no index can follow, none is accepted.
#[test]
fn folios_at_the_end_of_all_indexes() {
    let last = u64::MAX - 1023;
    let all = Placement::to_the_end(PageIndex(0)..PageIndex(u64::MAX), order_of(10));
    places(
        all,
        &[(last, 10, true), (last, 0, false), (u64::MAX, 0, false)],
    );
}

/// Where other folios begin, one may end but not reach over.
#[test]
fn folios_between_others() {
    let range = || PageIndex(8)..PageIndex(18);
    places(
        Placement::within(range(), order_of(9)),
        &[
            (0, 3, false),
            (7, 0, false),
            (8, 4, false),
            (8, 3, true),
            (16, 2, false),
            (16, 1, true),
            (18, 0, false),
        ],
    );
    // The end of the file may be within one.
    let to_the_end = Placement::to_the_end(range(), order_of(9));
    places(to_the_end, &[(16, 2, true), (18, 0, false)]);
}

#[test]
fn orders_that_a_piece_can_have() {
    assert_eq!(Order::new(10).map(Order::pages), Some(1024));
    for order in [11, 63, 64, 255, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(Order::new(order), None);
    }
}
