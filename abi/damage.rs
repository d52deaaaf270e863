// SPDX-License-Identifier: GPL-2.0-only

//! Why something that came in was refused, in words for the log.

use core::fmt;

use super::PhysAddr;

/// What is wrong with something the previous kernel left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The address is not the start of memory that KHO kept, or less of it than needed.
    Address(PhysAddr),
    /// The root is smaller than its structure: bytes there.
    RootSize(u64),
    /// The root is of another version.
    RootVersion([u8; 8]),
    /// A block has no entries, or more than fit: its count.
    BlockCount(u64),
    /// A chain does not end within the number of blocks that a chain may have.
    ChainLength,
    /// There are not as many entries as was said: said, found.
    EntryCount(u64, u64),
    /// A session has no name, or one that does not end.
    SessionName,
    /// Two sessions have the same name.
    DuplicateSession,
    /// Two files of a session have the same token.
    DuplicateToken(u64),
    /// The list of objects bound to files does not fit in its page: pages, objects.
    FlbList(u64, u64),
    /// Nobody here knows what this kind of file is.
    Handler([u8; 48]),
    /// A size or position that no file can have.
    FileSize(u64),
    /// Seals that this version does not know.
    Seals(u32),
    /// Flags that this version does not know.
    Flags(u64),
    /// The file has more folios than pages: folios, pages.
    FolioCount(u64, u64),
    /// The page cache has no folios of this order.
    FolioOrder(u32),
    /// The folios are not in ascending order, overlap, are not aligned or lie past the end: the
    /// index.
    FolioIndex(u64),
    /// The array of folios is longer or shorter than the number of folios: said, room.
    ArrayLength(u64, u64),
    /// The vmalloc descriptor has an order or flags that KHO cannot have written.
    ArrayForm,
}

/// A string that came in, for the log: escaped, and no longer than its field.
fn text(field: &[u8]) -> core::slice::EscapeAscii<'_> {
    field
        .split(|b| *b == 0)
        .next()
        .unwrap_or_default()
        .escape_ascii()
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(at) => write!(f, "no memory was handed over at {at}"),
            Self::RootSize(size) => write!(f, "a root of {size} bytes is too small"),
            Self::RootVersion(version) => {
                write!(f, "the root is \"{}\" and not \"luo-v5\"", text(version))
            }
            Self::BlockCount(count) => write!(f, "a block cannot hold {count} entries"),
            Self::ChainLength => f.write_str("a chain of blocks has no end"),
            Self::EntryCount(said, found) => write!(f, "{found} entries instead of {said}"),
            Self::SessionName => f.write_str("a session name is empty or does not end"),
            Self::DuplicateSession => f.write_str("two sessions have the same name"),
            Self::DuplicateToken(token) => write!(f, "two files have the token {token:#x}"),
            Self::FlbList(pages, count) => write!(f, "{count} objects in {pages} pages"),
            Self::Handler(name) => write!(f, "no handler for \"{}\"", text(name)),
            Self::FileSize(size) => write!(f, "no file has a size or position of {size:#x}"),
            Self::Seals(seals) => write!(f, "unknown seals {seals:#x}"),
            Self::Flags(flags) => write!(f, "unknown flags {flags:#x}"),
            Self::FolioCount(folios, pages) => write!(f, "{folios} folios for {pages} pages"),
            Self::FolioOrder(order) => write!(f, "no file has a folio of order {order}"),
            Self::FolioIndex(index) => write!(f, "a folio cannot be at index {index:#x}"),
            Self::ArrayLength(said, room) => write!(f, "an array of {room} for {said} folios"),
            Self::ArrayForm => f.write_str("an array of folios in an unknown form"),
        }
    }
}
