// SPDX-License-Identifier: GPL-2.0-only

//! What is wrong with incoming data, in words for the log.

use core::fmt;

use super::PhysAddr;

/// What is damaged in the data that the previous kernel left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The address is not the start of memory of the expected size that KHO kept.
    Address {
        /// The address.
        at: PhysAddr,
    },
    /// The root is smaller than its structure.
    RootSize {
        /// Its size in bytes.
        size: u64,
    },
    /// The root is of another version.
    RootVersion {
        /// The version.
        version: [u8; 8],
    },
    /// A block has no entries, or more than fit.
    BlockCount {
        /// How many it claims to have.
        count: u64,
    },
    /// A chain does not end within the number of blocks that a chain may have.
    ChainLength,
    /// A list does not have as many entries as its owner says.
    EntryCount {
        /// What the owner says.
        expected: u64,
        /// What the list has.
        found: u64,
    },
    /// A session has no name, or one without an end.
    SessionName,
    /// Two sessions have the same name.
    DuplicateSession,
    /// Two files of a session have the same token.
    DuplicateToken {
        /// The token.
        token: u64,
    },
    /// The list of file-lifecycle-bound objects does not fit in its page.
    FlbList {
        /// How many pages it claims to have.
        pages: u64,
        /// How many objects it claims to have.
        count: u64,
    },
    /// An FLB has no name, one without an end or one that another has, or no file.
    Flb {
        /// Its name.
        name: [u8; 48],
    },
    /// No handler of this kernel knows the file.
    Handler {
        /// The name of the handler that wrote it.
        name: [u8; 48],
    },
    /// No file can have this size or position.
    FileSize {
        /// The size or position in bytes.
        size: u64,
    },
    /// This version does not know these seals.
    Seals {
        /// All seals of the file.
        seals: u32,
    },
    /// This version does not know these flags.
    Flags {
        /// All flags of the file or folio.
        flags: u64,
    },
    /// The file has more folios than pages.
    FolioCount {
        /// How many folios it claims to have.
        folios: u64,
        /// Its size in pages.
        pages: u64,
    },
    /// The page cache has no folios of this order.
    FolioOrder {
        /// The order.
        order: u32,
    },
    /// The folio is not aligned in the file, or lies past the end of the file.
    FolioIndex {
        /// Where it claims to begin in the file, in pages.
        index: u64,
    },
    /// Two folios have the same page of the file.
    FolioOverlap,
    /// The array of folios is longer or shorter than the number of folios.
    ArrayLength {
        /// How many folios the file claims to have.
        entries: u64,
        /// How many entries the array has.
        capacity: u64,
    },
    /// The descriptor of the array has an order, flags or a list that KHO cannot have written.
    ArrayForm,
}

/// An incoming string for the log: escaped, and at most as long as its field.
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
            Self::Address { at } => write!(f, "no memory was handed over at {at}"),
            Self::RootSize { size } => write!(f, "a root of {size} bytes is too small"),
            Self::RootVersion { version } => {
                write!(f, "the root is \"{}\" and not \"luo-v5\"", text(version))
            }
            Self::BlockCount { count } => write!(f, "a block cannot hold {count} entries"),
            Self::ChainLength => f.write_str("a chain of blocks has no end"),
            Self::EntryCount { expected, found } => {
                write!(f, "{found} entries instead of {expected}")
            }
            Self::SessionName => f.write_str("a session name is empty or does not end"),
            Self::DuplicateSession => f.write_str("two sessions have the same name"),
            Self::DuplicateToken { token } => write!(f, "two files have the token {token:#x}"),
            Self::FlbList { pages, count } => write!(f, "{count} objects in {pages} pages"),
            Self::Flb { name } => write!(f, "FLB \"{}\" without own name or files", text(name)),
            Self::Handler { name } => write!(f, "no handler for \"{}\"", text(name)),
            Self::FileSize { size } => write!(f, "no file has a size or position of {size:#x}"),
            Self::Seals { seals } => write!(f, "unknown seals {seals:#x}"),
            Self::Flags { flags } => write!(f, "unknown flags {flags:#x}"),
            Self::FolioCount { folios, pages } => write!(f, "{folios} folios for {pages} pages"),
            Self::FolioOrder { order } => write!(f, "no file has a folio of order {order}"),
            Self::FolioIndex { index } => write!(f, "a folio cannot be at index {index:#x}"),
            Self::FolioOverlap => f.write_str("two folios overlap in the file"),
            Self::ArrayLength { entries, capacity } => {
                write!(f, "an array of {capacity} for {entries} folios")
            }
            Self::ArrayForm => f.write_str("an array of folios in an unknown form"),
        }
    }
}
