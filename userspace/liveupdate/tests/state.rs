// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The reader of state files: whatever the bytes are, it returns the value or says why not.

// A test fails by a panic.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg(feature = "state")]

use liveupdate::state::{decode, encode, inspect, load, save, Error, State, MAX_LEN};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Clock {
    Stopped,
    Running { offset: i64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    name: String,
    vcpus: Vec<Vec<u64>>,
    devices: BTreeMap<u32, Option<String>>,
    clock: Clock,
}

impl State for Machine {
    const KIND: &'static str = "test machine";
    const VERSION: u32 = 3;
    const OLDEST: u32 = 2;
}

fn machine() -> Machine {
    Machine {
        name: "guest".into(),
        vcpus: vec![vec![0, 1, u64::MAX], vec![]],
        devices: [(1, None), (7, Some("disk".into()))].into(),
        clock: Clock::Running { offset: -5 },
    }
}

fn machines() -> impl Strategy<Value = Machine> {
    let clock = prop_oneof![
        Just(Clock::Stopped),
        any::<i64>().prop_map(|offset| Clock::Running { offset })
    ];
    let device = proptest::option::of(".{0,8}");
    (
        ".{0,20}",
        proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..6), 0..4),
        proptest::collection::btree_map(any::<u32>(), device, 0..5),
        clock,
    )
        .prop_map(|(name, vcpus, devices, clock)| Machine {
            name,
            vcpus,
            devices,
            clock,
        })
}

/// Replaces a part of a file, and makes its checksum right again.
fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = encode(&machine()).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    sign(&mut file);
    file
}

fn sign(file: &mut [u8]) {
    let sum = crc32fast::hash(&file[12..]);
    file[8..12].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn the_format_is_the_documented_one() {
    let file = encode(&machine()).unwrap();
    assert_eq!(&file[..8], b"LU-STATE");
    assert_eq!(&file[12..16], [1, 0, 0, 0]);
    assert_eq!(&file[16..28], b"test machine");
    assert_eq!(&file[28..48], [0; 20]);
    assert_eq!(&file[48..56], [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(file[56..64], (file.len() as u64 - 64).to_le_bytes());
    // CBOR: a map of four pairs, whose first key is a text of four bytes.
    assert_eq!(&file[64..70], b"\xa4\x64name");
    let header = inspect(&file).unwrap();
    assert_eq!(header.kind, "test machine");
    assert_eq!((header.version, header.payload_len), (3, file.len() - 64));
}

#[test]
fn every_flipped_bit_is_found() {
    let good = encode(&machine()).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut file = good.clone();
            file[at] ^= 1 << bit;
            let error = decode::<Machine>(&file).expect_err("a flipped bit");
            match (at, error) {
                (0..8, Error::NotAState)
                | (12..14, Error::UnknownFormat { .. })
                | (
                    56..64,
                    Error::TooShort { .. } | Error::TrailingBytes { .. } | Error::Header { .. },
                )
                | (8..12 | 14..56 | 64.., Error::Checksum { .. }) => {}
                (at, error) => panic!("bit {bit} of byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let good = encode(&machine()).unwrap();
    for len in 0..good.len() {
        match decode::<Machine>(&good[..len]) {
            Err(Error::TooShort { len: found, .. }) => assert_eq!(found, len),
            other => panic!("{len} bytes: {other:?}"),
        }
    }
}

#[test]
fn a_byte_too_many_is_found() {
    let mut file = encode(&machine()).unwrap();
    file.push(0);
    assert!(matches!(
        decode::<Machine>(&file),
        Err(Error::TrailingBytes { .. })
    ));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    assert!(matches!(
        decode::<Machine>(&vec![0; MAX_LEN + 1]),
        Err(Error::TooLarge { .. })
    ));
    let value = Machine {
        name: "x".repeat(MAX_LEN),
        ..machine()
    };
    assert!(matches!(encode(&value), Err(Error::TooLarge { .. })));
}

#[test]
fn versions_outside_of_the_range_are_refused() {
    for (version, good) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
        match decode::<Machine>(&forged(48, &u32::to_le_bytes(version))) {
            Ok(value) if good => assert_eq!(value, machine()),
            Err(Error::Version { found, .. }) if !good => assert_eq!(found, version),
            other => panic!("version {version}: {other:?}"),
        }
    }
}

#[test]
fn another_kind_is_refused() {
    match decode::<Machine>(&forged(16, b"best machine")) {
        Err(Error::OtherKind { found, .. }) => assert_eq!(found, "best machine"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_kind_that_no_writer_writes_is_refused() {
    for (at, bytes) in [
        (16, &b"\0"[..]),
        (17, b"\0"),
        (20, b"\x1b"),
        (20, b"\xff"),
        (47, b"x"),
    ] {
        match decode::<Machine>(&forged(at, bytes)) {
            Err(Error::Header { field, .. }) => assert_eq!(field, "kind"),
            other => panic!("{bytes:?} at {at}: {other:?}"),
        }
    }
}

#[test]
fn reserved_bytes_are_zero() {
    for at in [14, 15, 52, 53, 54, 55] {
        match decode::<Machine>(&forged(at, &[1])) {
            Err(Error::Header { field, .. }) => assert_eq!(field, "reserved"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    vcpus: u32,
}

impl State for Old {
    const KIND: &'static str = "grown";
    const VERSION: u32 = 1;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    vcpus: u32,
    #[serde(default)]
    clock: u64,
}

impl State for New {
    const KIND: &'static str = "grown";
    const VERSION: u32 = 2;
    const OLDEST: u32 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
struct Stricter {
    clock: u64,
}

impl State for Stricter {
    const KIND: &'static str = "grown";
    const VERSION: u32 = 2;
    const OLDEST: u32 = 1;
}

#[test]
fn a_later_version_reads_what_an_earlier_one_wrote() {
    let file = encode(&Old { vcpus: 2 }).unwrap();
    assert_eq!(decode::<New>(&file).unwrap(), New { vcpus: 2, clock: 0 });
    assert!(matches!(
        decode::<Old>(&encode(&New { vcpus: 2, clock: 1 }).unwrap()),
        Err(Error::Version { found: 2, .. })
    ));
}

#[test]
fn a_missing_field_is_named() {
    let file = encode(&Old { vcpus: 2 }).unwrap();
    let error = decode::<Stricter>(&file).expect_err("no clock");
    assert!(matches!(error, Error::Decode(_)));
    assert!(error.to_string().contains("clock"), "{error}");
}

#[test]
fn bytes_after_the_value_are_found() {
    let mut file = encode(&machine()).unwrap();
    file.push(0xf6);
    let len = (file.len() as u64 - 64).to_le_bytes();
    file[56..64].copy_from_slice(&len);
    sign(&mut file);
    assert!(matches!(decode::<Machine>(&file), Err(Error::Decode(_))));
}

#[derive(Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

impl State for Nested {
    const KIND: &'static str = "nested";
    const VERSION: u32 = 1;
}

#[test]
fn deep_nesting_is_an_error_and_does_not_end_the_stack() {
    let mut file = encode(&Nested(vec![])).unwrap();
    // Arrays of one array each, and no end.
    file.truncate(64);
    file.extend(std::iter::repeat_n(0x81, 1 << 20));
    file[56..64].copy_from_slice(&(1_u64 << 20).to_le_bytes());
    sign(&mut file);
    assert!(matches!(decode::<Nested>(&file), Err(Error::Decode(_))));
}

#[test]
fn a_length_that_the_payload_does_not_have_is_not_allocated() {
    // An array, then a text, of 2^62 elements.
    for first in [0x9b, 0x7b, 0x5b, 0xbb] {
        let mut file = encode(&Nested(vec![])).unwrap();
        file.truncate(64);
        file.push(first);
        file.extend((1_u64 << 62).to_be_bytes());
        file[56..64].copy_from_slice(&9_u64.to_le_bytes());
        sign(&mut file);
        assert!(matches!(decode::<Nested>(&file), Err(Error::Decode(_))));
        assert!(matches!(
            decode::<Machine>(&file),
            Err(Error::OtherKind { .. })
        ));
    }
}

#[test]
fn a_saved_state_is_loaded_whatever_the_position() {
    let file = save(&machine()).unwrap();
    assert_eq!(rustix::fs::tell(&file), Ok(0));
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(30)).unwrap();
    assert_eq!(load::<Machine>(file.as_fd()).unwrap(), machine());
    assert_eq!(rustix::fs::tell(&file), Ok(30));
}

#[test]
fn a_saved_state_cannot_be_changed() {
    let file = save(&machine()).unwrap();
    for result in [
        rustix::io::pwrite(&file, b"x", 0).map(|_| ()),
        rustix::fs::ftruncate(&file, 0),
        rustix::fs::ftruncate(&file, 1 << 20),
        rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::FUTURE_WRITE),
    ] {
        assert_eq!(result, Err(rustix::io::Errno::PERM));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    // A socket has no size.
    assert!(matches!(
        load::<Machine>(one.as_fd()),
        Err(Error::TooShort { len: 0, .. })
    ));
    let folder = std::fs::File::open("/").unwrap();
    assert!(load::<Machine>(folder.as_fd()).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in machines()) {
        let file = encode(&value).unwrap();
        prop_assert_eq!(decode::<Machine>(&file).unwrap(), value);
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode::<Machine>(&bytes).is_err());
        prop_assert!(inspect(&bytes).is_err());
    }

    /// The checksum stops nearly everything; a right one lets the parser of the value run.
    #[test]
    fn random_payloads_end_in_a_value_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut file = encode(&machine()).unwrap();
        file.truncate(64);
        file.extend(&bytes);
        file[56..64].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        sign(&mut file);
        match decode::<Machine>(&file) {
            Ok(value) => prop_assert_eq!(decode::<Machine>(&encode(&value).unwrap()).unwrap(), value),
            Err(Error::Decode(why)) => prop_assert!(!why.is_empty()),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// The same for payloads that are nearly right.
    #[test]
    fn changed_payloads_end_in_a_value_or_an_error(
        value in machines(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut file = encode(&value).unwrap();
        for (index, byte) in changes {
            let at = 64 + index.index(file.len() - 64);
            file[at] = byte;
        }
        sign(&mut file);
        match decode::<Machine>(&file) {
            Ok(_) | Err(Error::Decode(_)) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
