// SPDX-License-Identifier: GPL-2.0-only

//! The name of a session.

use core::fmt;

use kernel::{
    prelude::*,
    str::{
        BStr,
        CStr, //
    }, //
};

use crate::abi::luo::until_nul;

/// What stands before the name in `/proc/<pid>/fd`: programs recognize sessions by it.
const FILE_PREFIX: [u8; 14] = *b"[luo_session] ";

/// A name that is neither empty nor longer than 63 bytes.
///
/// # Invariants
///
/// There is a byte that is not NUL at the start of `bytes` and a NUL behind the name, and nothing
/// but NULs from there on. Names of the same bytes have the same hash.
#[derive(Clone, Copy)]
pub(super) struct Name {
    hash: u32,
    bytes: [u8; 64],
}

// Two names that differ almost always differ in their hash, and most are short: a comparison of
// arrays would call the kernel's bcmp(), which looks at one byte after the other, of all 64.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        if self.hash != other.hash {
            return false;
        }
        for (a, b) in self.bytes.chunks_exact(8).zip(other.bytes.chunks_exact(8)) {
            if word(a) != word(b) {
                return false;
            }
            // By the type invariant a NUL ends both names.
            if a.last() == Some(&0) {
                break;
            }
        }
        true
    }
}

/// A piece of a name as a number.
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// Spreads every bit of `word` over all of the result: the two halves of a product, of which one
/// depends on the bits below each bit, and the other on those above.
fn mix(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

/// A mask of the bytes of `word` that stand before its first byte of zero, and whether it has one.
fn before_nul(word: u64) -> (u64, bool) {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The highest bit of each byte of zero, and maybe of bytes behind the first of them.
    let nuls = word.wrapping_sub(ONES) & !word & (ONES << 7);
    let first = (nuls & nuls.wrapping_neg()) >> 7;
    (first.wrapping_sub(1), nuls != 0)
}

impl Name {
    /// Checks what a user or the previous kernel wrote; bytes behind the first NUL are ignored.
    pub(super) fn new(field: &[u8; 64]) -> Option<Self> {
        let mut bytes = [0; 64];
        let mut hash = 0;
        for (to, from) in bytes.chunks_exact_mut(8).zip(field.chunks_exact(8)) {
            let (mask, ends) = before_nul(word(from));
            let text = word(from) & mask;
            to.copy_from_slice(&text.to_le_bytes());
            hash = mix(hash ^ text ^ 0xe703_7ed1_a0b4_28db);
            if ends {
                // INVARIANT: Behind the NUL there is nothing but what `bytes` began with.
                let hash = (hash ^ (hash >> 32)) as u32;
                return (bytes[0] != 0).then_some(Self { hash, bytes });
            }
        }
        None
    }

    /// A number that is most likely another one for another name.
    pub(super) fn hash(&self) -> u32 {
        self.hash
    }

    /// The name as it stands in structures.
    pub(super) fn as_field(&self) -> &[u8; 64] {
        &self.bytes
    }

    fn text(&self) -> &[u8] {
        until_nul(&self.bytes).unwrap_or_default()
    }

    /// The name of the file of the session.
    pub(super) fn file_name<'a>(&self, buffer: &'a mut [u8; 96]) -> Result<&'a CStr> {
        if let Some((prefix, rest)) = buffer.split_first_chunk_mut() {
            *prefix = FILE_PREFIX;
            if let Some(name) = rest.first_chunk_mut() {
                *name = self.bytes;
            }
        }
        CStr::from_bytes_until_nul(buffer).map_err(|_| EINVAL)
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
            assert_eq!(name.text(), text);
            assert_eq!(name.as_field(), &field(text, 0));
        }
        Ok(())
    }

    #[test]
    fn any_byte_but_nul() -> Result {
        for byte in 1..=u8::MAX {
            let text = [byte, 0x80, byte, 1, byte, 0xff, byte, b'x', byte];
            let name = Name::new(&field(&text, 0x80)).ok_or(EINVAL)?;
            assert_eq!(name.text(), text);
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
        let mut buffer = [0; 96];
        let name = Name::new(&field(&[b'n'; 63], 0)).ok_or(EINVAL)?;
        let long = name.file_name(&mut buffer)?.to_bytes();
        assert_eq!(long.len(), FILE_PREFIX.len() + 63);
        let name = Name::new(&field(b"short", 0)).ok_or(EINVAL)?;
        let short = name.file_name(&mut buffer)?.to_bytes();
        assert_eq!(short, b"[luo_session] short");
        Ok(())
    }
}
