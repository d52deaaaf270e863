// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Text of any bytes as one printable word, as the kernel's lists have it.
//!
//! A blank, a backslash, and each byte that is not printable ASCII is `\xNN`. So a name that a
//! program chose cannot write to a terminal or begin a new line.

use serde::{Serialize, Serializer};
use std::fmt::{self, Write};

/// The bytes that a word stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(Vec<u8>);

/// The text has a backslash that does not begin `\xNN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a backslash that does not begin \\xNN")]
pub struct BadEscape;

impl Word {
    /// Takes bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Reads a word of a list.
    pub fn parse(text: &str) -> Result<Self, BadEscape> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            let [b'x', high, low, after @ ..] = rest else {
                return Err(BadEscape);
            };
            bytes.push(digit(*high)? << 4 | digit(*low)?);
            rest = after;
        }
        Ok(Self(bytes))
    }
}

/// The value of a hexadecimal digit, of which the kernel writes the small ones.
fn digit(digit: u8) -> Result<u8, BadEscape> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(BadEscape),
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for &byte in &self.0 {
            match byte {
                b'\\' => text.push_str("\\x5c"),
                b'!'..=b'~' => text.push(char::from(byte)),
                _ => write!(text, "\\x{byte:02x}")?,
            }
        }
        // As one text, so that a width pads all of it.
        f.pad(&text)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_a_terminal_would_obey_are_escaped() {
        let word = Word::new(*b"a b\\\x1b[m\n\xff~");
        assert_eq!(word.to_string(), "a\\x20b\\x5c\\x1b[m\\x0a\\xff~");
    }

    #[test]
    fn a_damaged_escape_is_no_word() {
        for text in ["\\", "\\x", "\\x0", "\\xg0", "\\X00", "\\n", "\\xAB"] {
            assert_eq!(Word::parse(text), Err(BadEscape), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_one_word_and_comes_back(bytes in any::<Vec<u8>>()) {
            let text = Word::new(bytes.clone()).to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(Word::parse(&text), Ok(Word::new(bytes)));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Word::parse(&text);
        }
    }
}
