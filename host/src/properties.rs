// SPDX-License-Identifier: GPL-2.0-only

//! Records, chains and headers read back as they were written. When one value of a valid state is
//! damaged, the reader reports that value.

use proptest::prelude::*;

use crate::{
    abi::{
        array::Placement,
        chain::{self, BlockHeader, Survey},
        flb::{FlbEntry, FlbHeader},
        luo::{padded, until_nul, FileEntry, Root, SessionEntry, COMPATIBLE},
        memfd::{FolioEntry, Header, Memfd, ALL_SEALS},
        pieces::Pieces,
        units::{PageIndex, Pfn},
        vmalloc::{self, Area, Descriptor},
        Damage, PhysAddr, Record, PAGE_SIZE,
    },
    memory::Pages,
    tests::{bytes_of, entry_of, order_of},
};

const PAGE: u64 = PAGE_SIZE as u64;

/// A record of any bytes is written as the same bytes and changes no byte after them. Fields
/// that a shorter buffer lacks are 0.
fn reads_back<R: Record>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let bytes = &bytes[..R::SIZE];
    let record = R::load(bytes);
    let mut written = vec![0xa5; R::SIZE + 8];
    record.store(&mut written);
    prop_assert_eq!(&written[..R::SIZE], bytes);
    prop_assert_eq!(&written[R::SIZE..], &[0xa5; 8]);
    for len in 0..R::SIZE {
        let of_cut = bytes_of(&R::load(&bytes[..len]));
        let kept = of_cut.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        prop_assert!(of_cut[kept..].iter().all(|byte| *byte == 0));
    }
    Ok(())
}

/// Damage to one block of a chain.
#[derive(Clone, Copy, Debug)]
enum BlockDamage {
    Count(u64),
    Link(u64),
    NotPreserved,
    Cycle,
}

/// Any damage to a block that can hold `capacity` entries.
fn block_damages(capacity: u64) -> impl Strategy<Value = BlockDamage> {
    prop_oneof![
        prop_oneof![Just(0), (capacity + 1)..=u64::MAX].prop_map(BlockDamage::Count),
        // The first addresses are not aligned, the others are larger than those of all pieces.
        prop_oneof![1..PAGE, (1 << 40)..=u64::MAX].prop_map(BlockDamage::Link),
        Just(BlockDamage::NotPreserved),
        Just(BlockDamage::Cycle),
    ]
}

/// The address of block `i` of a chain. Addresses do not ascend with blocks.
fn block_addr(i: usize) -> u64 {
    (1 + (i as u64 * 37) % 101) * PAGE
}

/// A valid chain whose blocks have these counts.
fn chain_of(counts: &[u64]) -> Pages {
    let mut memory = Pages::default();
    for (i, count) in counts.iter().enumerate() {
        let next = match i + 1 < counts.len() {
            true => block_addr(i + 1),
            false => 0,
        };
        memory.put(
            block_addr(i),
            &bytes_of(&BlockHeader {
                next,
                count: *count,
            }),
        );
    }
    memory
}

/// The survey counts the valid chain, and reports `damage` to block `which` modulo the length.
fn check_damaged_chain<E: Record>(
    counts: &[u64],
    which: usize,
    damage: BlockDamage,
) -> Result<(), TestCaseError> {
    let mut memory = chain_of(counts);
    let head = PhysAddr(block_addr(0));
    let whole = Survey {
        blocks: counts.len(),
        entries: counts.iter().sum::<u64>() as usize,
    };
    prop_assert_eq!(chain::survey::<E>(&memory, head), Ok(whole));
    let which = which % counts.len();
    let at = block_addr(which);
    let count = counts[which];
    let mut put = |next, count| memory.put(at, &bytes_of(&BlockHeader { next, count }));
    let expected = match damage {
        BlockDamage::Count(count) => {
            put(0, count);
            Damage::BlockCount { count }
        }
        BlockDamage::Link(next) => {
            put(next, count);
            Damage::Address { at: PhysAddr(next) }
        }
        BlockDamage::NotPreserved => {
            memory.remove(at);
            Damage::Address { at: PhysAddr(at) }
        }
        BlockDamage::Cycle => {
            put(block_addr(which / 2), count);
            Damage::ChainLength
        }
    };
    prop_assert_eq!(chain::survey::<E>(&memory, head), Err(expected));
    Ok(())
}

/// Valid headers of a memfd.
fn headers() -> impl Strategy<Value = Header> {
    (1..1u64 << 40, 0..=10u16, 0..=ALL_SEALS, 0..1u64 << 63).prop_flat_map(
        |(size, order, seals, pos)| {
            (1..=size.div_ceil(PAGE).min(1 << 24)).prop_map(move |nr_folios| Header {
                pos,
                size,
                seals,
                flags: 0,
                nr_folios,
                first: PAGE,
                total_pages: (nr_folios.div_ceil(256 << order) << order) as u32,
                array_flags: vmalloc::FLAG_ALLOC,
                order,
            })
        },
    )
}

/// Headers with one damaged value, and the damage.
fn damaged_headers() -> impl Strategy<Value = (Header, Damage)> {
    (headers(), 0..7, any::<u64>()).prop_map(|(mut h, choice, random)| {
        let damage = match choice {
            0 => {
                h.size = random | 1 << 63;
                Damage::FileSize { size: h.size }
            }
            1 => {
                h.pos = random | 1 << 63;
                Damage::FileSize { size: h.pos }
            }
            2 => {
                h.seals |= 1 << (6 + random % 26);
                Damage::Seals { seals: h.seals }
            }
            3 => {
                h.flags = 1 << (random % 32);
                Damage::Flags {
                    flags: h.flags.into(),
                }
            }
            4 => {
                h.nr_folios = h.size.div_ceil(PAGE) + 1 + random % (1 << 60);
                Damage::FolioCount {
                    folios: h.nr_folios,
                    pages: h.size.div_ceil(PAGE),
                }
            }
            5 => {
                // The array has at least one array page too many.
                h.total_pages += (1 + random as u32 % 1000) << h.order;
                Damage::ArrayLength {
                    entries: h.nr_folios,
                    capacity: u64::from(h.total_pages) * 256,
                }
            }
            _ => {
                h.total_pages -= 1 << h.order;
                Damage::ArrayLength {
                    entries: h.nr_folios,
                    capacity: u64::from(h.total_pages) * 256,
                }
            }
        };
        (h, damage)
    })
}

/// How many runs of adjacent frames there are.
fn runs_of(frames: &[u64]) -> u64 {
    let mut sorted = frames.to_vec();
    sorted.sort_unstable();
    let breaks = sorted
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .count();
    breaks as u64 + u64::from(!sorted.is_empty())
}

fn pieces_of(frames: &[u64]) -> Pieces {
    let mut pieces = Pieces::default();
    for frame in frames {
        pieces.add(Pfn(*frame), 1);
    }
    pieces
}

/// Different frames, in any order.
fn frames() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(1..60u64, 0..40)
        .prop_map(|frames| frames.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn pieces_are_at_least_the_runs(frames in frames(), at in 0..40usize) {
        let (before, after) = frames.split_at(at.min(frames.len()));
        let mut joined = pieces_of(before);
        joined.join(&pieces_of(after));
        for pieces in [pieces_of(&frames), joined] {
            prop_assert!(pieces.count() >= runs_of(&frames));
            prop_assert!(pieces.count() <= frames.len() as u64);
        }
    }

    #[test]
    fn frames_in_order_have_as_many_pieces_as_runs(frames in frames(), down: bool, at in 0..40usize) {
        let mut frames = frames;
        frames.sort_unstable();
        if down {
            frames.reverse();
        }
        let (before, after) = frames.split_at(at.min(frames.len()));
        let mut joined = pieces_of(before);
        joined.join(&pieces_of(after));
        prop_assert!((runs_of(&frames)..=runs_of(&frames) + 1).contains(&joined.count()));
        prop_assert_eq!(pieces_of(&frames).count(), runs_of(&frames));
    }

    #[test]
    fn records_read_back(bytes: [u8; 32], more: [u8; 32], last: [u8; 16]) {
        let bytes = [&bytes[..], &more, &last].concat();
        reads_back::<Root>(&bytes)?;
        reads_back::<BlockHeader>(&bytes)?;
        reads_back::<SessionEntry>(&bytes)?;
        reads_back::<FileEntry>(&bytes)?;
        reads_back::<FlbHeader>(&bytes)?;
        reads_back::<FlbEntry>(&bytes)?;
        reads_back::<Header>(&bytes)?;
        reads_back::<FolioEntry>(&bytes)?;
        reads_back::<Descriptor>(&bytes)?;
    }

    #[test]
    fn root_damage_is_reported(liveupdate_num: u64, sessions: u64, flbs: u64, size: u64, byte in 0..8usize, bit in 0..8) {
        let mut root = Root { compatible: COMPATIBLE, liveupdate_num, sessions, flbs };
        let mut memory = Pages::default();
        memory.put(PAGE, &bytes_of(&root));
        let small = size % Root::SIZE as u64;
        for (size, expected) in [
            (size.max(Root::SIZE as u64), Ok(root)),
            (small, Err(Damage::RootSize { size: small })),
        ] {
            prop_assert_eq!(Root::read(&memory, PhysAddr(PAGE), size), expected);
        }
        root.compatible[byte] ^= 1u8 << bit;
        memory.put(PAGE, &bytes_of(&root));
        let expected = Err(Damage::RootVersion { version: root.compatible });
        prop_assert_eq!(Root::read(&memory, PhysAddr(PAGE), 32), expected);
    }

    #[test]
    fn damaged_session_chain_is_reported(
        counts in prop::collection::vec(1..=51u64, 1..100),
        which: usize,
        damage in block_damages(51),
    ) {
        check_damaged_chain::<SessionEntry>(&counts, which, damage)?;
    }

    #[test]
    fn damaged_file_chain_is_reported(
        counts in prop::collection::vec(1..=63u64, 1..100),
        which: usize,
        damage in block_damages(63),
    ) {
        check_damaged_chain::<FileEntry>(&counts, which, damage)?;
    }

    #[test]
    fn block_entries_read_back(tokens in prop::collection::vec(any::<u64>(), 1..=63)) {
        let mut page = vec![0; PAGE_SIZE];
        for (slot, token) in tokens.iter().enumerate() {
            let entry = FileEntry { compatible: [1; 48], data: !token, token: *token };
            chain::put(&mut page, slot, &entry);
        }
        let read: Vec<_> = chain::entries::<FileEntry>(&page).map(|e| (e.token, e.data)).collect();
        let written: Vec<_> = tokens.iter().map(|t| (*t, !t)).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn strings_read_back(text in "[^\0]{0,20}") {
        let field: [u8; 48] = padded(&text);
        let kept = &text.as_bytes()[..text.len().min(47)];
        prop_assert_eq!(until_nul(&field), Some(kept));
        prop_assert!(field[kept.len()..].iter().all(|byte| *byte == 0));
        prop_assert_eq!(until_nul(text.as_bytes()), None);
    }

    #[test]
    fn valid_headers_are_accepted(header in headers()) {
        let memfd = Memfd::new(header).map_err(|damage| TestCaseError::fail(damage.to_string()))?;
        prop_assert_eq!(
            (memfd.pos() as u64, memfd.size() as u64, memfd.seals(), memfd.nr_folios()),
            (header.pos, header.size, header.seals, header.nr_folios)
        );
        prop_assert_eq!(memfd.pages(), header.size.div_ceil(PAGE));
        let pages = (header.total_pages >> header.order) as usize;
        let area = Area { pages, order: order_of(header.order as u8) };
        prop_assert_eq!(memfd.array().check(), Ok(area));
    }

    #[test]
    fn damaged_headers_are_reported((header, damage) in damaged_headers()) {
        prop_assert_eq!(Memfd::new(header).err(), Some(damage));
    }

    #[test]
    fn damaged_descriptors_are_reported(pages in 1..1u32 << 20, order in 0..=10u16, flags in 0..4u16, bit in 2..16, more in 1..1u32 << 10) {
        let valid = Descriptor { first: PAGE, total_pages: pages << order, flags, order };
        let area = Area { pages: pages as usize, order: order_of(order as u8) };
        prop_assert_eq!(valid.check(), Ok(area));
        let with_flag = Descriptor { flags: flags | 1u16 << bit, ..valid };
        let with_order = Descriptor { order: order + 11, ..valid };
        let without_pages = Descriptor { total_pages: 0, ..valid };
        for damaged in [with_flag, with_order, without_pages] {
            prop_assert_eq!(damaged.check(), Err(Damage::ArrayForm));
        }
        let with_more_pages = Descriptor { total_pages: valid.total_pages + more, ..valid };
        prop_assert_eq!(with_more_pages.check().is_ok(), more % (1 << order) == 0);
    }

    #[test]
    fn folio_entries_read_back(pfn in 0..1u64 << 52, flags in 0..1u64 << 12, index: u64) {
        let entry = FolioEntry::load(&bytes_of(&entry_of(pfn, flags, index)));
        prop_assert_eq!((entry.pfn().0, entry.flags(), entry.index.0), (pfn, flags, index));
        prop_assert_eq!(entry.pfn().addr(), PhysAddr(pfn << 12));
    }

    #[test]
    fn accepted_folios_begin_in_the_file(index in 0..9000u64, size in 0..10u8, end in 0..9000u64) {
        let placement = Placement::new(PageIndex(end), order_of(9));
        let expected = index < end && index % (1 << size) == 0;
        let accepted = placement.check(&entry_of(1, 0, index), order_of(size));
        prop_assert_eq!(accepted.is_ok(), expected);
    }

    #[test]
    fn chunks_read_back(pages in prop::collection::vec(1u64.., 1..=511), link: u64) {
        let mut page = vec![0; PAGE_SIZE];
        vmalloc::set_next(&mut page, PhysAddr(link));
        for (i, page_addr) in pages.iter().enumerate() {
            vmalloc::set_page(&mut page, i, PhysAddr(*page_addr));
        }
        prop_assert_eq!(vmalloc::next(&page), PhysAddr(link));
        for i in 0..520 {
            prop_assert_eq!(vmalloc::page(&page, i), PhysAddr(pages.get(i).copied().unwrap_or(0)));
        }
    }
}
