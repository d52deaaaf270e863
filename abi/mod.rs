// SPDX-License-Identifier: GPL-2.0-only

//! What crosses kexec: layouts, writers, and readers that check every value.
//!
//! ```text
//!  KHO subtree "LUO"
//!        │
//!        ▼
//!  ┌── Root ─────────────────────┐      ┌── block ──────────┐      ┌── block ──┐
//!  │ "luo-v5" │ update number    │  ┌──►│ next ─────────────┼─────►│ next = 0  │
//!  │ sessions ───────────────────┼──┘   │ count             │      │   ...     │
//!  │ objects bound to files (FLB)│      │ session: "name"   │      └───────────┘
//!  └─────────────────────────────┘      │   files ──────────┼──┐
//!                                       │   count           │  │   at most 51 sessions, or
//!                                       │ session: ...      │  │   63 files, in a block of a page
//!                                       └───────────────────┘  │
//!       ┌──────────────────────────────────────────────────────┘
//!       ▼
//!  ┌── block ──────────┐      ┌── memfd header ───┐
//!  │ next              │  ┌──►│ position, size    │      the folio array:
//!  │ count             │  │   │ seals             │      see `array`
//!  │ file: "memfd-v2"  │  │   │ number of folios  │           │
//!  │   data ───────────┼──┘   │ array ────────────┼───────────┘
//!  │   token           │      └───────────────────┘
//!  │ file: ...         │
//!  └───────────────────┘      All arrows are physical addresses of pages that KHO keeps.
//! ```
//!
//! This folder uses `core` and nothing else, so that `host/` can test and fuzz the same source
//! files. It never follows an address of the previous kernel: it asks a [`Memory`] for a copy of the
//! bytes there, or a [`ClaimMemory`] for the pages, and gets them only if KHO kept them.
//! [`marks`] decides that, from what KHO wrote to the pages.
//!
//! The authority for all layouts is `include/linux/kho/abi/`. `kapi::layout` compares sizes at
//! compile time, and offsets in KUnit tests.

#[macro_use]
mod record;

pub(crate) mod array;
pub(crate) mod chain;
mod damage;
pub(crate) mod flb;
pub(crate) mod luo;
pub(crate) mod marks;
pub(crate) mod memfd;
pub(crate) mod memory;
pub(crate) mod pieces;
pub(crate) mod units;
pub(crate) mod vmalloc;

pub(crate) use damage::Damage;
pub(crate) use memory::{
    ClaimMemory,
    Memory,
    PhysAddr, //
};
pub(crate) use record::Record;

/// The page size of both kernels, in bytes. KHO does not hand over between different ones.
pub(crate) const PAGE_SIZE: usize = 4096;
