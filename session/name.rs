// SPDX-License-Identifier: GPL-2.0-only

//! The name of a session.

use core::{
    cmp::Ordering,
    fmt, //
};

use kernel::{
    prelude::*,
    str::{
        BStr,
        CStr, //
    }, //
};

use crate::abi::luo::until_nul;

/// Begins the name of a session's file in `/proc/<pid>/fd`. Programs recognize sessions by it.
const FILE_PREFIX: [u8; 14] = *b"[luo_session] ";

/// The bytes of the longest name of a session's file, and a NUL, need less than that.
pub(super) const FILE_NAME_SIZE: usize = 96;

/// A name of 1 to 63 bytes, none of which is NUL.
///
/// # Invariants
///
/// `bytes` is the name and at least one NUL, and everything after the first NUL is NUL: equal names
/// have equal bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    bytes: [u8; 64],
}

impl Name {
    /// Checks a field that a user or the previous kernel wrote; bytes after the first NUL are
    /// ignored.
    ///
    /// [`None`] if the name is empty or no NUL ends it.
    pub(super) fn new(field: &[u8; 64]) -> Option<Self> {
        let text = until_nul(field).filter(|text| !text.is_empty())?;
        let mut bytes = [0; 64];
        // INVARIANT: `text` is shorter than the field and has no NUL; the rest stays NUL.
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { bytes })
    }

    /// The name as it stands in structures.
    pub(super) fn as_field(&self) -> &[u8; 64] {
        &self.bytes
    }

    /// The name: 1 to 63 bytes, none of which is NUL.
    pub(super) fn text(&self) -> &[u8] {
        until_nul(&self.bytes).unwrap_or_default()
    }

    /// The name, eight bytes at a time, of which the first is the highest: such words compare as
    /// the bytes in them do.
    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let words = self.bytes.chunks_exact(8);
        words.map(|word| {
            word.first_chunk()
                .map_or(0, |word| u64::from_be_bytes(*word))
        })
    }

    /// The name of the file of the session, in `buffer`.
    pub(super) fn file_name<'a>(&self, buffer: &'a mut [u8; FILE_NAME_SIZE]) -> Result<&'a CStr> {
        if let Some((prefix, rest)) = buffer.split_first_chunk_mut() {
            *prefix = FILE_PREFIX;
            if let Some(field) = rest.first_chunk_mut() {
                *field = self.bytes;
            }
        }
        CStr::from_bytes_until_nul(buffer).map_err(|_| EINVAL)
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let mut pairs = Iterator::zip(self.words(), other.words());
        match pairs.find(|(a, b)| a != b) {
            Some((a, b)) => a.cmp(&b),
            None => Ordering::Equal,
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Escapes what is not printable, so that a name cannot forge lines of the log or of fdinfo.
impl kernel::fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kernel::fmt::Display::fmt(BStr::from_bytes(self.text()), f)
    }
}

#[kunit_tests(liveupdate_name)]
mod tests {
    use super::*;

    fn field(text: &[u8], rest: u8) -> [u8; 64] {
        let mut field = [rest; 64];
        for (to, from) in field.iter_mut().zip(Iterator::chain(text.iter(), &[0])) {
            *to = *from;
        }
        field
    }

    #[test]
    fn ends_at_the_first_nul() -> Result {
        let longest = [b'n'; 63];
        for len in 1..=longest.len() {
            let text = longest.get(..len).ok_or(EINVAL)?;
            let name = Name::new(&field(text, 0)).ok_or(EINVAL)?;
            assert!(Name::new(&field(text, b'n')) == Some(name));
            assert!(Name::new(&field(text, 1)) == Some(name));
            assert_eq!(name.as_field(), &field(text, 0));
        }
        Ok(())
    }

    #[test]
    fn any_byte_but_nul() -> Result {
        for byte in 1..=u8::MAX {
            let text = [byte, 0x80, byte, 1, byte, 0xff, byte, b'x', byte];
            let name = Name::new(&field(&text, 0x80)).ok_or(EINVAL)?;
            assert_eq!(name.as_field(), &field(&text, 0));
        }
        Ok(())
    }

    #[test]
    fn in_the_order_of_their_bytes() -> Result {
        let texts: [&[u8]; 5] = [b"\x01", b"a", b"a\x01", b"ab", b"\xff"];
        let mut last = None;
        for text in texts {
            let name = Name::new(&field(text, b'z')).ok_or(EINVAL)?;
            assert!(last < Some(name));
            last = Some(name);
        }
        Ok(())
    }

    #[test]
    fn neither_empty_nor_endless() {
        assert!(Name::new(&field(b"", b'x')).is_none());
        assert!(Name::new(&[b'x'; 64]).is_none());
    }

    #[test]
    fn name_of_the_file() -> Result {
        let mut buffer = [0; FILE_NAME_SIZE];
        let name = Name::new(&field(&[b'n'; 63], 0)).ok_or(EINVAL)?;
        let long = name.file_name(&mut buffer)?.to_bytes();
        assert_eq!(long.len(), FILE_PREFIX.len() + 63);
        let name = Name::new(&field(b"short", 0)).ok_or(EINVAL)?;
        let short = name.file_name(&mut buffer)?.to_bytes();
        assert_eq!(short, b"[luo_session] short");
        Ok(())
    }
}
