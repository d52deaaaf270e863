// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Names of sessions: the checks accept what the kernel accepts, and nothing else.

// A test fails by a panic.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use liveupdate::{InvalidName, SessionName, Token};
use proptest::prelude::*;

#[test]
fn the_longest_name_is_accepted_and_a_longer_one_is_not() {
    assert_eq!(SessionName::MAX_LEN, 63);
    let longest = [b'x'; 63];
    assert_eq!(
        SessionName::new(longest).map(|name| name.as_bytes().len()),
        Ok(63)
    );
    assert!(matches!(
        SessionName::new([b'x'; 64]),
        Err(InvalidName::TooLong { len: 64, .. })
    ));
}

#[test]
fn an_empty_name_is_refused() {
    assert_eq!(SessionName::new(""), Err(InvalidName::Empty));
}

#[test]
fn a_nul_is_refused_wherever_it_is() {
    for at in 0..SessionName::MAX_LEN {
        let mut name = [b'x'; SessionName::MAX_LEN];
        name[at] = 0;
        match SessionName::new(name) {
            Err(InvalidName::Nul { at: found, .. }) => assert_eq!(found, at),
            other => panic!("a NUL at {at}: {other:?}"),
        }
    }
}

#[test]
fn a_printed_name_cannot_steer_a_terminal() {
    let name = SessionName::new(b"a\x1b[2J\n\xff\\").expect("a good name");
    assert_eq!(name.to_string(), "a\\u{1b}[2J\\n\\xff\\\\");
    assert_eq!(name.to_str(), None);
    assert_eq!(
        SessionName::new("gu\u{e9}st").map(|name| name.to_string()),
        Ok("gu\u{e9}st".into())
    );
}

#[test]
fn tokens_are_printed_in_hexadecimal() {
    assert_eq!(Token::from(u64::MAX).to_string(), "0xffffffffffffffff");
}

proptest! {
    #[test]
    fn a_name_is_accepted_exactly_if_the_kernel_accepts_it(
        bytes in proptest::collection::vec(prop_oneof![9 => any::<u8>(), 1 => Just(0)], 0..80)
    ) {
        let good = !bytes.is_empty() && bytes.len() <= 63 && !bytes.contains(&0);
        match SessionName::new(&bytes) {
            Ok(name) => {
                prop_assert!(good);
                prop_assert_eq!(name.as_bytes(), bytes.as_slice());
                // One line of text, whatever the bytes are.
                prop_assert!(!name.to_string().chars().any(char::is_control));
            }
            Err(error) => {
                prop_assert!(!good);
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn names_compare_as_their_bytes_do(
        one in proptest::collection::vec(1..=255u8, 1..=63),
        other in proptest::collection::vec(1..=255u8, 1..=63),
    ) {
        let names = (SessionName::new(&one).unwrap(), SessionName::new(&other).unwrap());
        prop_assert_eq!(names.0.cmp(&names.1), one.cmp(&other));
        prop_assert_eq!(names.0 == names.1, one == other);
    }
}
