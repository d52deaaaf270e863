// SPDX-License-Identifier: GPL-2.0-only

//! The page of FLBs: what is written is read back, and each kind of damage is found.

use proptest::{collection::btree_map, prelude::*};

use crate::{
    abi::{
        flb::{FlbEntry, FlbHeader, FlbWriter, MAX_FLBS},
        luo::padded,
        Damage, PhysAddr, Record, PAGE_SIZE,
    },
    memory::Pages,
};

const AT: u64 = PAGE_SIZE as u64;

fn page_with(entries: &[FlbEntry]) -> [u8; PAGE_SIZE] {
    let mut page = [0xa5; PAGE_SIZE];
    let mut writer = FlbWriter::new(&mut page);
    entries.iter().for_each(|entry| writer.push(entry));
    page
}

fn read_at(memory: &Pages, at: u64) -> Result<Vec<FlbEntry>, Damage> {
    let (at, mut found) = (PhysAddr(at), Vec::new());
    let header = FlbHeader::read(memory, at)?;
    header.entries(memory, at, &mut [0; PAGE_SIZE], |entry| found.push(entry))?;
    Ok(found)
}

fn read_back(page: &[u8]) -> Result<Vec<FlbEntry>, Damage> {
    let mut memory = Pages::default();
    memory.put(AT, page);
    read_at(&memory, AT)
}

proptest! {
    #[test]
    fn written_and_read_back(flbs in btree_map("[a-z]{1,47}", (any::<u64>(), 1..u64::MAX), 0..=MAX_FLBS)) {
        let entries: Vec<_> = flbs
            .iter()
            .map(|(name, (data, count))| FlbEntry::new(name, *data, *count))
            .collect();
        prop_assert_eq!(read_back(&page_with(&entries)), Ok(entries));
    }

    /// Whatever the page holds, each entry that is read has a name of its own and files.
    #[test]
    fn any_page_is_read_or_refused(mut page in prop::collection::vec(any::<u8>(), PAGE_SIZE), count in 0..70u64) {
        FlbHeader { pages: 1, count }.store(&mut page);
        if let Ok(entries) = read_back(&page) {
            prop_assert_eq!(entries.len() as u64, count);
            for (nr, entry) in entries.iter().enumerate() {
                prop_assert!(entry.count > 0 && entry.name[0] != 0 && entry.name.contains(&0));
                prop_assert!(entries[..nr].iter().all(|other| other.name != entry.name));
            }
        }
    }
}

#[test]
fn more_than_a_page_holds_are_not_written() {
    let entries: Vec<_> = (0..70)
        .map(|nr| FlbEntry::new(&format!("flb-{nr}"), nr, 1))
        .collect();
    assert_eq!(read_back(&page_with(&entries)), Ok(entries[..63].to_vec()));
}

#[test]
fn header_damage_is_found() {
    for (pages, count) in [(0, 0), (2, 0), (1, 64), (1, u64::MAX)] {
        let mut page = page_with(&[]);
        FlbHeader { pages, count }.store(&mut page);
        assert_eq!(read_back(&page), Err(Damage::FlbList { pages, count }));
    }
}

#[test]
fn entry_damage_is_found() {
    let good = FlbEntry::new("good", 1, 1);
    for bad in [
        FlbEntry {
            name: [b'x'; 48],
            ..good
        },
        FlbEntry {
            name: [0; 48],
            ..good
        },
        FlbEntry {
            name: padded("none"),
            count: 0,
            ..good
        },
        good,
    ] {
        let damage = Err(Damage::Flb { name: bad.name });
        assert_eq!(read_back(&page_with(&[good, bad])), damage);
    }
    // What follows the NUL of a name does not count.
    let mut same = good;
    same.name[10] = b'x';
    assert!(read_back(&page_with(&[good, same])).is_err());
}

#[test]
fn addresses_are_checked() {
    let mut memory = Pages::default();
    memory.put(AT, &page_with(&[]));
    memory.put(0, &page_with(&[]));
    for at in [0, 8, AT + 8, 2 * AT, u64::MAX] {
        assert_eq!(
            read_at(&memory, at),
            Err(Damage::Address { at: PhysAddr(at) })
        );
    }
}
