// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The bytes of the list of owners that crosses kexec: writer and reader.
//!
//! The file has two slots. Each change writes the whole list to the older one, so that a writer
//! that dies leaves the newer one. Of the slots with a right checksum, the reader takes the newer
//! one. The size never changes, because the file is preserved while it is written.
//!
//! ```text
//!        0  slot 0
//!   SLOT_LEN  slot 1
//!
//!   slot:
//!      0  magic       8  "LUD-OWN1"
//!      8  checksum    4  CRC-32 of all bytes after it, up to the last entry
//!     12  count       4  of entries, at most CAPACITY
//!     16  sequence    8  one more with each change
//!     24  entries       72 each
//!
//!   entry:
//!      0  name       64  filled up with zeroes
//!     64  user        4
//!     68  flags       4  bit 0: the agent keeps the session, so it is in the store
//! ```
//!
//! Numbers are little-endian. Names are in ascending order, and each is there once. Anything else
//! is damage: another program has written the list, in another kernel.

use liveupdate::SessionName;
use std::collections::BTreeMap;

/// The largest number of sessions in a list.
pub const CAPACITY: usize = 1024;

const MAGIC: [u8; 8] = *b"LUD-OWN1";
const HEADER_LEN: usize = 24;
/// Where the bytes begin that the checksum covers.
const SUMMED: usize = 12;
const NAME_LEN: usize = 64;
const ENTRY_LEN: usize = NAME_LEN + 8;
/// Whole pages.
const SLOT_LEN: usize = (HEADER_LEN + CAPACITY * ENTRY_LEN).next_multiple_of(4096);
/// The length of the file, in bytes.
pub const FILE_LEN: usize = 2 * SLOT_LEN;
const KEPT: u32 = 1;

/// The owner of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// Whether the agent keeps the session. An incoming one is kept from when it is retrieved.
    pub kept: bool,
}

/// Owners by the name of their session.
pub type List = BTreeMap<SessionName, Owner>;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// At the beginning of the file.
    First,
    /// In its second half.
    Second,
}

impl Slot {
    /// The one that the next change goes to.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Where it begins in the file, in bytes.
    pub fn offset(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => SLOT_LEN,
        }
    }
}

/// Writes a slot. [`None`] if the list has more than [`CAPACITY`] entries.
pub fn write(sequence: u64, list: &List) -> Option<Vec<u8>> {
    let count = u32::try_from(list.len()).ok()?;
    if list.len() > CAPACITY {
        return None;
    }
    let mut summed = Vec::with_capacity(HEADER_LEN + list.len() * ENTRY_LEN);
    summed.extend(count.to_le_bytes());
    summed.extend(sequence.to_le_bytes());
    for (name, owner) in list {
        let mut field = name.as_bytes().to_vec();
        field.resize(NAME_LEN, 0);
        summed.extend(field);
        summed.extend(owner.uid.to_le_bytes());
        summed.extend(if owner.kept { KEPT } else { 0 }.to_le_bytes());
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32fast::hash(&summed).to_le_bytes());
    bytes.extend(summed);
    Some(bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

/// Reads a slot, and returns its sequence; [`None`] if it is damaged or was never written.
fn read_slot(slot: &[u8]) -> Option<(u64, List)> {
    let mut at = slot;
    if take::<8>(&mut at)? != MAGIC {
        return None;
    }
    let checksum = take_u32(&mut at)?;
    let count = usize::try_from(take_u32(&mut at)?).ok()?;
    if count > CAPACITY {
        return None;
    }
    let end = HEADER_LEN + count * ENTRY_LEN;
    if crc32fast::hash(slot.get(SUMMED..end)?) != checksum {
        return None;
    }
    // There must be a next one.
    let sequence = take(&mut at)
        .map(u64::from_le_bytes)
        .filter(|sequence| *sequence < u64::MAX)?;
    let mut list = List::new();
    for _ in 0..count {
        let field: [u8; NAME_LEN] = take(&mut at)?;
        let mut parts = field.splitn(2, |byte| *byte == 0);
        let name = SessionName::new(parts.next()?).ok()?;
        if parts.next()?.iter().any(|byte| *byte != 0) {
            return None;
        }
        let uid = take_u32(&mut at)?;
        let flags = take_u32(&mut at)?;
        if flags & !KEPT != 0 || list.keys().next_back().is_some_and(|last| *last >= name) {
            return None;
        }
        let kept = flags & KEPT != 0;
        list.insert(name, Owner { uid, kept });
    }
    Some((sequence, list))
}

/// Reads a file: the newest list, its sequence, and the slot that it is in. [`None`] if both
/// slots are damaged.
pub fn read(file: &[u8]) -> Option<(u64, Slot, List)> {
    if file.len() != FILE_LEN {
        return None;
    }
    [Slot::First, Slot::Second]
        .into_iter()
        .filter_map(|slot| {
            let bytes = file.get(slot.offset()..slot.offset() + SLOT_LEN)?;
            let (sequence, list) = read_slot(bytes)?;
            Some((sequence, slot, list))
        })
        .max_by_key(|(sequence, ..)| *sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_list() -> impl Strategy<Value = List> {
        let name = proptest::collection::vec(1_u8..=255, 1..=63)
            .prop_map(|bytes| SessionName::new(bytes).expect("a good name"));
        let owner = (any::<u32>(), any::<bool>()).prop_map(|(uid, kept)| Owner { uid, kept });
        proptest::collection::btree_map(name, owner, 0..20)
    }

    /// A file with these bytes in its slots.
    fn file(first: &[u8], second: &[u8]) -> Vec<u8> {
        let mut file = first.to_vec();
        file.resize(SLOT_LEN, 0);
        file.extend(second);
        file.resize(FILE_LEN, 0);
        file
    }

    proptest! {
        #[test]
        fn the_newer_list_comes_back(old in any_list(), new in any_list(), sequence in 1_u64..u64::MAX - 1) {
            let older = write(sequence, &old).expect("short");
            let newer = write(sequence + 1, &new).expect("short");
            let read_back = read(&file(&older, &newer));
            prop_assert_eq!(read_back, Some((sequence + 1, Slot::Second, new.clone())));
            let read_back = read(&file(&newer, &older));
            prop_assert_eq!(read_back, Some((sequence + 1, Slot::First, new)));
        }

        /// Whatever part of a slot a writer has come to, the other one counts.
        #[test]
        fn a_writer_that_dies_leaves_the_older_list(
            oldest in any_list(), old in any_list(), new in any_list(),
            at in any::<proptest::sample::Index>(),
        ) {
            let mut first = write(1, &oldest).expect("short");
            let second = write(2, &old).expect("short");
            let newer = write(3, &new).expect("short");
            let written = at.index(newer.len());
            first.resize(first.len().max(written), 0);
            first.splice(..written, newer.iter().take(written).copied());
            let file = file(&first, &second);
            // The last bytes may happen to be there already.
            if !file.starts_with(&newer) {
                prop_assert_eq!(read(&file), Some((2, Slot::Second, old)));
            }
        }

        #[test]
        fn a_flipped_bit_is_damage(list in any_list(), at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = write(7, &list).expect("short");
            let at = at.index(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1_u8 << bit;
            }
            prop_assert_eq!(read(&file(&bytes, &[])), None);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut slot = MAGIC.to_vec();
            slot.extend(&bytes);
            let _ = read(&file(&slot, &bytes));
            let _ = read(&bytes);
        }
    }

    #[test]
    fn a_full_list_fits_and_one_more_does_not() {
        let mut list: List = (0..CAPACITY)
            .map(|n| {
                let name = SessionName::new(format!("{n:063}")).expect("a good name");
                (name, Owner { uid: 1, kept: true })
            })
            .collect();
        let bytes = write(1, &list).expect("fits");
        assert!(bytes.len() <= SLOT_LEN);
        assert_eq!(
            read(&file(&bytes, &[])),
            Some((1, Slot::First, list.clone()))
        );
        let name = SessionName::new("x").expect("a good name");
        list.insert(name, Owner { uid: 1, kept: true });
        assert_eq!(write(2, &list), None);
    }

    #[test]
    fn a_file_that_was_never_written_is_damaged() {
        assert_eq!(read(&vec![0; FILE_LEN]), None);
        assert_eq!(read(&vec![0; FILE_LEN - 1]), None);
    }

    #[test]
    fn a_sequence_without_a_next_one_is_damage() {
        let bytes = write(u64::MAX, &List::new()).expect("short");
        assert_eq!(read(&file(&bytes, &[])), None);
    }
}
