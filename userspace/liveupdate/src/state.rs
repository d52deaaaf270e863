// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A value of the program in a file that crosses kexec.
//!
//! The memory of a process does not survive a kexec. A program that wants to go on afterwards
//! writes what it must know into a memfd, preserves that, and reads it in the next kernel. The
//! reader may be another version of the program, or another program that was given the wrong
//! token. So the file says what it is, and every reason not to read it is an error of its own.
//! A failed [`load`] changes nothing. As long as the session is open, the program can hand it to
//! one that reads the state.
//!
//! ```
//! use liveupdate::state::{self, State};
//! use serde::{Deserialize, Serialize};
//! use std::os::fd::AsFd;
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! struct Vm {
//!     vcpus: u32,
//!     // Version 1 had no clock.
//!     #[serde(default)]
//!     clock: u64,
//! }
//!
//! impl State for Vm {
//!     const KIND: &'static str = "example-vm";
//!     const VERSION: u32 = 2;
//!     const OLDEST: u32 = 1;
//! }
//!
//! let vm = Vm { vcpus: 2, clock: 17 };
//! let file = state::save(&vm)?;
//! // ... session.preserve(STATE, &file)?, kexec, let file = session.retrieve(STATE)? ...
//! assert_eq!(state::load::<Vm>(file.as_fd())?, vm);
//! # Ok::<(), state::Error>(())
//! ```
//!
//! # Format
//!
//! Numbers are little-endian. Each byte of the file is checked: a flipped bit, and a byte too
//! few or too many, are errors.
//!
//! ```text
//!    0  magic           8  "LU-STATE"
//!    8  checksum        4  CRC-32 of all bytes after it
//!   12  format          2  1
//!   14  reserved        2  0
//!   16  kind           32  what the value is, filled up with zeroes
//!   48  version         4  of the value, as its program counts
//!   52  reserved        4  0
//!   56  payload length  8  in bytes
//!   64  payload            the value in CBOR (RFC 8949)
//! ```
//!
//! CBOR names the fields, so a program can add fields with `#[serde(default)]` and still read
//! what its previous version wrote. Bytes are compact with the crate `serde_bytes`.
//!
//! The checksum finds damage, not forgery: preserve state in a session that only trusted
//! programs can retrieve.
//!
//! # Bounds
//!
//! A file has at most [`MAX_LEN`] bytes, and the reader copies it before it looks at it. What it
//! allocates is bounded by the length of the file and the size of the type. Values nest at most
//! 256 levels deep.

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The length of the largest state file, in bytes.
pub const MAX_LEN: usize = 64 << 20;

/// The length of the longest [`State::KIND`], in bytes.
pub const MAX_KIND_LEN: usize = 32;

const MAGIC: [u8; 8] = *b"LU-STATE";
const FORMAT: u16 = 1;
const HEADER_LEN: usize = 64;
/// Where the bytes begin that the checksum covers.
const SUMMED: usize = 12;

/// A value that a state file can hold.
///
/// A kind or a version that is wrong does not compile where the value is written:
///
/// ```compile_fail
/// # use liveupdate::state::{self, State};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Vm;
///
/// impl State for Vm {
///     const KIND: &'static str = "";
///     const VERSION: u32 = 1;
/// }
///
/// let file = state::save(&Vm);
/// ```
pub trait State: Serialize + DeserializeOwned {
    /// What the value is, for a reader that was given another file: 1 to 32 bytes of printable
    /// ASCII.
    const KIND: &'static str;

    /// The version that this program writes, and the newest that it reads.
    const VERSION: u32;

    /// The oldest version that this program reads. Fields that were added since need
    /// `#[serde(default)]`.
    const OLDEST: u32 = Self::VERSION;
}

/// What a state file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The [`State::KIND`] of the value.
    pub kind: String,
    /// The [`State::VERSION`] of the program that wrote it.
    pub version: u32,
    /// The length of the serialized value, in bytes.
    pub payload_len: usize,
}

/// Why a state file was not written or not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[non_exhaustive]
    System {
        /// What the call was to do.
        action: &'static str,
        /// The errno.
        errno: i32,
    },
    /// The file ends before its header, or before its payload.
    #[non_exhaustive]
    TooShort {
        /// The length of the file, in bytes.
        len: usize,
        /// The length that it needs.
        needed: usize,
    },
    /// The file goes on after its payload.
    #[non_exhaustive]
    TrailingBytes {
        /// The length of the file, in bytes.
        len: usize,
        /// The length that its header says.
        expected: usize,
    },
    /// The file has more than [`MAX_LEN`] bytes, or would have.
    #[non_exhaustive]
    TooLarge {
        /// Its length in bytes.
        len: u64,
    },
    /// The file does not begin as a state file.
    NotAState,
    /// A later version of this crate wrote the file.
    #[non_exhaustive]
    UnknownFormat {
        /// The format that the file says.
        format: u16,
    },
    /// The bytes do not have the checksum that the file says: the file is damaged.
    #[non_exhaustive]
    Checksum {
        /// The checksum that the file says.
        expected: u32,
        /// The checksum of its bytes.
        found: u32,
    },
    /// A field of the header has a value that no writer writes.
    #[non_exhaustive]
    Header {
        /// The name of the field.
        field: &'static str,
    },
    /// The file holds a value of another kind.
    #[non_exhaustive]
    OtherKind {
        /// The kind that the reader wants.
        expected: &'static str,
        /// The kind that the file says.
        found: String,
    },
    /// The value has a version that the reader does not know.
    #[non_exhaustive]
    Version {
        /// The version that the file says.
        found: u32,
        /// The oldest version that the reader reads.
        oldest: u32,
        /// The newest version that the reader reads.
        newest: u32,
    },
    /// The value does not serialize.
    Encode(String),
    /// The payload is not a value of the type; the text names what is missing or wrong.
    Decode(String),
    /// There is not enough memory for the file.
    NoMemory,
}

impl Error {
    fn system(action: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System {
            action,
            errno: errno.raw_os_error(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { action, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "cannot {action} a state file: {error}")
            }
            Self::TooShort { len, needed } => {
                write!(f, "the state file has {len} bytes, and needs {needed}")
            }
            Self::TrailingBytes { len, expected } => {
                write!(f, "the state file has {len} bytes instead of {expected}")
            }
            Self::TooLarge { len } => {
                write!(f, "a state file of {len} bytes is larger than {MAX_LEN}")
            }
            Self::NotAState => f.write_str("the file is not a state file"),
            Self::UnknownFormat { format } => {
                write!(f, "the state file has format {format}, known is {FORMAT}")
            }
            Self::Checksum { expected, found } => write!(
                f,
                "the state file is damaged: its checksum is {found:#010x} \
                 instead of {expected:#010x}"
            ),
            Self::Header { field } => {
                write!(f, "the state file has a wrong value in its field {field}")
            }
            Self::OtherKind { expected, found } => {
                write!(f, "the state file holds \"{found}\", not \"{expected}\"")
            }
            Self::Version {
                found,
                oldest,
                newest,
            } => write!(
                f,
                "the state file has version {found}, this program reads {oldest} to {newest}"
            ),
            Self::Encode(why) => write!(f, "the state does not serialize: {why}"),
            Self::Decode(why) => write!(f, "the state cannot be read: {why}"),
            Self::NoMemory => f.write_str("there is not enough memory for the state file"),
        }
    }
}

impl std::error::Error for Error {}

/// Whether a kind can stand in the header. `const`, so that a wrong [`State::KIND`] does not
/// compile.
const fn is_kind(kind: &[u8]) -> bool {
    let mut rest = kind;
    while let [byte, after @ ..] = rest {
        if !byte.is_ascii_graphic() && *byte != b' ' {
            return false;
        }
        rest = after;
    }
    !kind.is_empty() && kind.len() <= MAX_KIND_LEN
}

/// Takes the next `N` bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Checks a file up to its payload, and returns that.
fn parse(file: &[u8]) -> Result<(Header, &[u8]), Error> {
    let short = |needed| Error::TooShort {
        len: file.len(),
        needed,
    };
    if file.len() > MAX_LEN {
        return Err(Error::TooLarge {
            len: file.len() as u64,
        });
    }
    let mut at = file;
    // One closure for all fields, which fit if the first check of the length holds.
    let header = || short(HEADER_LEN);
    if take::<8>(&mut at).ok_or_else(header)? != MAGIC {
        return Err(Error::NotAState);
    }
    let expected = u32::from_le_bytes(take(&mut at).ok_or_else(header)?);
    let summed = at;
    let format = u16::from_le_bytes(take(&mut at).ok_or_else(header)?);
    if format != FORMAT {
        return Err(Error::UnknownFormat { format });
    }
    let reserved = take::<2>(&mut at).ok_or_else(header)?;
    let kind = take::<MAX_KIND_LEN>(&mut at).ok_or_else(header)?;
    let version = u32::from_le_bytes(take(&mut at).ok_or_else(header)?);
    let reserved_too = take::<4>(&mut at).ok_or_else(header)?;
    let payload_len = u64::from_le_bytes(take(&mut at).ok_or_else(header)?);

    // The length comes before the checksum: a file that was cut short is more than damaged.
    let payload_len = usize::try_from(payload_len)
        .ok()
        .filter(|len| *len <= MAX_LEN - HEADER_LEN)
        .ok_or(Error::Header {
            field: "payload length",
        })?;
    if at.len() < payload_len {
        return Err(short(HEADER_LEN + payload_len));
    }
    if at.len() > payload_len {
        return Err(Error::TrailingBytes {
            len: file.len(),
            expected: HEADER_LEN + payload_len,
        });
    }
    let found = crc32fast::hash(summed);
    if found != expected {
        return Err(Error::Checksum { expected, found });
    }
    if reserved != [0; 2] || reserved_too != [0; 4] {
        return Err(Error::Header { field: "reserved" });
    }
    let text = kind.split(|&byte| byte == 0).next().unwrap_or_default();
    let filling = kind.iter().skip(text.len());
    let kind = std::str::from_utf8(text)
        .ok()
        .filter(|text| is_kind(text.as_bytes()) && filling.clone().all(|&byte| byte == 0))
        .ok_or(Error::Header { field: "kind" })?;
    let header = Header {
        kind: kind.to_owned(),
        version,
        payload_len,
    };
    Ok((header, at))
}

/// Writes a value into the bytes of a state file.
///
/// # Errors
///
/// [`Error::Encode`] if the value does not serialize, and [`Error::TooLarge`].
pub fn encode<T: State>(value: &T) -> Result<Vec<u8>, Error> {
    const {
        assert!(
            is_kind(T::KIND.as_bytes()),
            "State::KIND is 1 to 32 bytes of ASCII"
        );
        assert!(T::OLDEST <= T::VERSION, "State::OLDEST is not the oldest");
    }
    let mut payload = Vec::new();
    ciborium::into_writer(value, &mut payload).map_err(|error| Error::Encode(error.to_string()))?;
    if payload.len() > MAX_LEN - HEADER_LEN {
        return Err(Error::TooLarge {
            len: (HEADER_LEN + payload.len()) as u64,
        });
    }
    let mut header = Vec::with_capacity(HEADER_LEN - SUMMED);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&[0; 2]);
    header.extend(
        T::KIND
            .bytes()
            .chain(std::iter::repeat(0))
            .take(MAX_KIND_LEN),
    );
    header.extend_from_slice(&T::VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&header);
    sum.update(&payload);

    let mut file = Vec::new();
    file.try_reserve_exact(HEADER_LEN + payload.len())
        .map_err(|_| Error::NoMemory)?;
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&sum.finalize().to_le_bytes());
    file.append(&mut header);
    file.append(&mut payload);
    Ok(file)
}

/// Reads a value from the bytes of a state file.
///
/// # Errors
///
/// Each variant of [`Error`] but those of writing says why the bytes are not such a value.
pub fn decode<T: State>(file: &[u8]) -> Result<T, Error> {
    let (header, mut payload) = parse(file)?;
    if header.kind != T::KIND {
        return Err(Error::OtherKind {
            expected: T::KIND,
            found: header.kind,
        });
    }
    if !(T::OLDEST..=T::VERSION).contains(&header.version) {
        return Err(Error::Version {
            found: header.version,
            oldest: T::OLDEST,
            newest: T::VERSION,
        });
    }
    let value =
        ciborium::from_reader(&mut payload).map_err(|error| Error::Decode(error.to_string()))?;
    if payload.is_empty() {
        Ok(value)
    } else {
        Err(Error::Decode(format!(
            "{} bytes follow the value",
            payload.len()
        )))
    }
}

/// Reads what a state file says about itself, for a program that does not know the type. The
/// checksum is checked.
///
/// # Errors
///
/// As [`decode`], but for the kind, the version and the value.
pub fn inspect(file: &[u8]) -> Result<Header, Error> {
    parse(file).map(|(header, _)| header)
}

/// Writes a value into a new memfd, and seals it: nobody can change it any more.
///
/// # Errors
///
/// As [`encode`], and those of the system calls.
pub fn save<T: State>(value: &T) -> Result<OwnedFd, Error> {
    let bytes = encode(value)?;
    let fd = rustix::fs::memfd_create(
        "liveupdate-state",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL,
    )
    .map_err(Error::system("create"))?;
    let mut rest = bytes.as_slice();
    let mut at = 0;
    while !rest.is_empty() {
        // With pwrite(2), the position, which crosses too, stays at the beginning.
        match rustix::io::pwrite(&fd, rest, at) {
            Ok(0) => return Err(Error::system("write")(Errno::IO)),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("write")(errno)),
        }
    }
    rustix::fs::fcntl_add_seals(
        &fd,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .map_err(Error::system("seal"))?;
    Ok(fd)
}

/// Reads a value from a file. The position of the file does not matter, and stays.
///
/// # Errors
///
/// As [`decode`], and those of the system calls.
pub fn load<T: State>(file: BorrowedFd<'_>) -> Result<T, Error> {
    decode(&read(file)?)
}

/// Reads what a file says about itself, as [`inspect`].
///
/// # Errors
///
/// As [`inspect`], and those of the system calls.
pub fn inspect_file(file: BorrowedFd<'_>) -> Result<Header, Error> {
    inspect(&read(file)?)
}

/// Copies a file, because another process may change it if it is not sealed.
fn read(file: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
    let stat = rustix::fs::fstat(file).map_err(Error::system("examine"))?;
    let len = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    let size = usize::try_from(len)
        .ok()
        .filter(|size| *size <= MAX_LEN)
        .ok_or(Error::TooLarge { len })?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| Error::NoMemory)?;
    bytes.resize(size, 0);
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, at as u64) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("read")(errno)),
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}
