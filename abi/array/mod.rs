// SPDX-License-Identifier: GPL-2.0-only

//! The folio array of a memfd: its writer, its reader, and how the folios that it names are claimed.
//!
//! ```text
//!  memfd header        chunk                chunk                 one of at most 511 array pages
//!  ┌─────────────┐     ┌──────────────┐     ┌──────────────┐      ┌───────────────────┬─────────┐
//!  │ first ──────┼───► │ next ────────┼───► │ next = 0     │  ┌─► │ flags:12 | pfn:52 │ index   │ 0
//!  │ total_pages │     │ array page 0 ┼─┐   │ array page   ┼──┘   ├───────────────────┼─────────┤
//!  │ flags, order│     │ array page 1 │ │   │      511     │      │ flags:12 | pfn:52 │ index   │ 1
//!  └─────────────┘     │      ...     │ │   │ 0            │      ├───────────────────┼─────────┤
//!                      │ array page   │ │   └──────────────┘      │        ...        │   ...   │
//!                      │     510      │ │                         ├───────────────────┼─────────┤
//!                      └──────────────┘ └─► 256 entries           │ 0                 │ 0       │
//!                                                                 └───────────────────┴─────────┘
//! ```
//!
//! An entry of 16 bytes says in which frame a folio begins, whether it is dirty and up to date, and
//! where it begins in the file. KHO hands over the order of a folio with its mark, so the array does
//! not name it. After the last entry stands an empty one, unless the array page is full.
//!
//! Entries come in any order. [`ArrayWriter`] writes those of one pass over the file in ascending
//! order, and appends the folios that came later:
//!
//! ```text
//!  preserve: holes at pages 2 and 5              freeze: page 5 has come, then page 2
//!  ┌───┬───┬───┬───┬───┬───┬ ─ ─ ┐               ┌───┬───┬───┬───┬───┬───┬───┬───┐
//!  │ 0 │ 1 │ 3 │ 4 │ 6 │ 7 │     │               │ 0 │ 1 │ 3 │ 4 │ 6 │ 7 │ 5 │ 2 │
//!  └───┴───┴───┴───┴───┴───┴ ─ ─ ┘               └───┴───┴───┴───┴───┴───┴───┴───┘
//! ```
//!
//! The C implementation reads entries in any order too. It skips those that name frame 0, which no
//! writer writes. Here they are damage: a file that lost a page must not arrive with a hole.
//!
//! The C implementation allocates the array by `vmalloc()` and preserves it with
//! `kho_preserve_vmalloc()`, which writes the chunks. [`ArrayWriter`] needs no such area: it adds
//! pages as folios come, and writes the same chunks. When huge pages back an area, C writes array
//! pages of more than one page, which is the `order`; the reader accepts those too.
//!
//! # Reading it on several CPUs
//!
//! [`Walk`] claims the array pages in order. The entries of one array page are a [`FileSlice`], and
//! each CPU takes the next one. [`Placement`] checks each folio by itself: it is aligned, begins in the
//! file, and is not too large. Nothing here checks that two folios do not overlap in the file: that
//! would need memory for a map of the file, or an order of the entries, which C does not promise.
//!
//! The page cache is that map. An insertion finds a page that is there already, under the lock of the
//! page cache, at every index that the folio covers: one of two folios that overlap is not inserted,
//! whichever CPU comes first. The retrieve then fails with
//! [`Damage::FolioOverlap`](super::Damage::FolioOverlap). Only insertion depends on where a folio lies
//! in the file, so a file that is freed unseen needs no such check. And no page has two owners,
//! whatever the entries say: a frame can be claimed once (see [`marks`](super::marks)).
//!
//! An entry costs at most one claim and one insertion, so damaged input costs no more than a valid
//! array of the same length.
//!
//! [`include/linux/kho/abi/memfd.h`](srctree/include/linux/kho/abi/memfd.h) and
//! [`include/linux/kho/abi/kexec_handover.h`](srctree/include/linux/kho/abi/kexec_handover.h) are the
//! authority for the layout.

mod found;
mod placement;
mod reader;
mod writer;

pub(crate) use found::{
    FolioRun,
    FoundRun,
    MAX_RUN, //
};
pub(crate) use placement::Placement;
pub(crate) use reader::{
    FileSlice,
    Walk, //
};
pub(crate) use writer::{
    ArrayWriter,
    PageList, //
};

use super::{
    memfd::FolioEntry,
    Record,
    PAGE_SIZE, //
};

/// How many entries an array page of one page holds.
pub(crate) const ENTRIES_PER_PAGE: usize = PAGE_SIZE / FolioEntry::SIZE;
