// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Names of sessions, and tokens of files.

use crate::uapi;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Bytes of a name in an argument of the kernel, with its NUL.
pub(crate) const FIELD: usize = uapi::LIVEUPDATE_SESSION_NAME_LENGTH as usize;

/// The name of a session: 1 to 63 bytes without a NUL.
///
/// The kernel compares names byte by byte, and does not ask for UTF-8. Outgoing and
/// incoming sessions have separate names: a program can create `vm-1` for the next
/// kernel while it still holds the `vm-1` of the previous one.
///
/// ```
/// use liveupdate::SessionName;
///
/// let name: SessionName = "vm-1".parse()?;
/// assert_eq!(name.as_bytes(), b"vm-1");
/// assert!(SessionName::new("").is_err());
/// assert!(SessionName::new([b'x'; 64]).is_err());
/// # Ok::<(), liveupdate::InvalidName>(())
/// ```
#[derive(Clone, Copy)]
pub struct SessionName {
    /// Bytes after the name are zero, and at least one follows it.
    field: [u8; FIELD],
}

impl SessionName {
    /// The length of the longest name, in bytes.
    pub const MAX_LEN: usize = FIELD - 1;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Says which rule the name breaks.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(InvalidName::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(InvalidName::TooLong { len: name.len() });
        }
        if let Some(at) = name.iter().position(|&byte| byte == 0) {
            return Err(InvalidName::Nul { at });
        }
        let mut field = [0; FIELD];
        for (to, from) in field.iter_mut().zip(name) {
            *to = *from;
        }
        Ok(Self { field })
    }

    /// Reads what the kernel wrote: the name ends at the first NUL.
    pub(crate) fn from_field(field: &[u8; FIELD]) -> Result<Self, InvalidName> {
        Self::new(field.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    /// Returns the bytes for an argument of the kernel.
    pub(crate) fn field(&self) -> [u8; FIELD] {
        self.field
    }

    /// Returns the bytes of the name, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.field
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default()
    }

    /// Returns the name as text, if it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }
}

/// Prints the name. Control characters and bytes that are not UTF-8 are escaped, so a
/// name from another program cannot write to a terminal or break a line of a log.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionName(\"{self}\")")
    }
}

impl PartialEq for SessionName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for SessionName {}

impl PartialOrd for SessionName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SessionName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for SessionName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl AsRef<[u8]> for SessionName {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl FromStr for SessionName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<&str> for SessionName {
    type Error = InvalidName;

    fn try_from(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<&[u8]> for SessionName {
    type Error = InvalidName;

    fn try_from(name: &[u8]) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

/// The rule that the name of a session breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name has no bytes.
    Empty,
    /// The name is longer than [`SessionName::MAX_LEN`].
    #[non_exhaustive]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The name has a NUL.
    #[non_exhaustive]
    Nul {
        /// The index of the first NUL.
        at: usize,
    },
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name of a session is empty"),
            Self::TooLong { len } => write!(
                f,
                "the name of a session has {len} bytes, and may have {}",
                SessionName::MAX_LEN
            ),
            Self::Nul { at } => write!(f, "byte {at} of the name of a session is NUL"),
        }
    }
}

impl std::error::Error for InvalidName {}

/// A number that names a file in its session.
///
/// The program chooses it, and needs it in the next kernel to get the file back. All 64-bit
/// numbers are tokens.
///
/// ```
/// use liveupdate::Token;
///
/// const RAM: Token = Token::new(1);
/// assert_eq!(RAM.to_string(), "0x1");
/// assert_eq!(u64::from(RAM), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// Makes a token of a number.
    #[must_use]
    pub const fn new(token: u64) -> Self {
        Self(token)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Token {
    fn from(token: u64) -> Self {
        Self(token)
    }
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        token.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
