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
//! where it begins in the file. Entries ascend by index. KHO hands over the order of a folio with its
//! mark, so the array does not name it. After the last entry stands an empty one, unless the array
//! page is full.
//!
//! The C implementation allocates the array by `vmalloc()` and preserves it with
//! `kho_preserve_vmalloc()`, which writes the chunks. [`ArrayWriter`] needs no such area: it adds
//! pages as folios come, and writes the same chunks. When huge pages back an area, C writes array
//! pages of more than one page, which is the `order`; the reader accepts those too.
//!
//! # Reading it on several CPUs
//!
//! [`Walk`] claims the array pages in order, one ahead of what it has given away. The folios of one
//! array page must lie in the file from the index of its first entry up to the index of the first
//! entry of the next page: a [`FileSlice`]. So two CPUs that claim and insert the folios of two
//! slices never meet at an index, whatever the entries say.
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
