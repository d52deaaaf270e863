// SPDX-License-Identifier: GPL-2.0-only

//! What crosses kexec: layouts, and readers that check every value.
//!
//! This folder uses `core` and nothing else, so that the same source files can be tested and
//! fuzzed on the host. It never dereferences an address of the previous kernel: it asks a
//! [`Memory`] for the bytes there, and gets them only if Kexec HandOver kept them.
//!
//! The authority for all layouts is `include/linux/kho/abi/*.h`; `kapi::layout` compares the two
//! at compile time.

#[macro_use]
mod record;

pub(crate) mod chain;
mod damage;
pub(crate) mod folios;
pub(crate) mod luo;
pub(crate) mod memfd;
pub(crate) mod memory;
pub(crate) mod vmalloc;

pub(crate) use damage::Damage;
pub(crate) use memory::{
    ClaimMemory,
    Memory,
    PhysAddr, //
};
pub(crate) use record::Record;

/// The page size of both kernels. KHO does not hand over between different ones.
pub(crate) const PAGE_SIZE: usize = 4096;
