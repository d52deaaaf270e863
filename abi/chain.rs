// SPDX-License-Identifier: GPL-2.0-only

//! Chains of one-page blocks: a header, then entries of one size.
//!
//! [`include/linux/kho/abi/block.h`](srctree/include/linux/kho/abi/block.h) is the authority.

use super::{
    Damage,
    Memory,
    PhysAddr,
    Record,
    PAGE_SIZE, //
};

/// How many blocks a chain can have: the C implementation takes a longer one for damaged.
pub(crate) const MAX_BLOCKS: usize = 10_000;

record! {
    /// `struct kho_block_header_ser`.
    pub(crate) struct BlockHeader {
        /// Physical address of the next block, or 0.
        pub next: u64,
        /// Entries in this block.
        pub count: u64,
    }
}

/// How many entries of type `E` fit in a block.
pub(crate) const fn entries_per_block<E: Record>() -> usize {
    (PAGE_SIZE - BlockHeader::SIZE) / E::SIZE
}

/// How many blocks are needed for `count` entries of type `E`.
pub(crate) const fn blocks_for<E: Record>(count: usize) -> usize {
    count.div_ceil(entries_per_block::<E>())
}

/// Checks the header of a block of `E`s.
pub(crate) fn check<E: Record>(header: BlockHeader) -> Result<BlockHeader, Damage> {
    if header.count == 0 || header.count > entries_per_block::<E>() as u64 {
        return Err(Damage::BlockCount {
            count: header.count,
        });
    }
    Ok(header)
}

/// The entries of a block: as many as it says, or as fit.
pub(crate) fn entries<'a, E: Record + 'a>(block: &'a [u8]) -> impl Iterator<Item = E> + 'a {
    let count = BlockHeader::load(block).count as usize;
    block
        .get(BlockHeader::SIZE..)
        .unwrap_or_default()
        .chunks_exact(E::SIZE)
        .take(count)
        .map(E::load)
}

/// Writes entry number `slot`, for which the block must have room, and counts it.
pub(crate) fn put<E: Record>(block: &mut [u8], slot: usize, entry: &E) {
    rewrite(block, slot, entry);
    set_count(block, slot + 1);
}

/// Writes entry number `slot`, for which the block must have room.
pub(crate) fn rewrite<E: Record>(block: &mut [u8], slot: usize, entry: &E) {
    let at = BlockHeader::SIZE + slot * E::SIZE;
    entry.store(block.get_mut(at..).unwrap_or_default());
}

/// Sets the number of entries of a block.
pub(crate) fn set_count(block: &mut [u8], count: usize) {
    let mut header = BlockHeader::load(block);
    header.count = count as u64;
    header.store(block);
}

/// Sets the block that follows a block.
pub(crate) fn set_next(block: &mut [u8], next: PhysAddr) {
    let mut header = BlockHeader::load(block);
    header.next = next.0;
    header.store(block);
}

/// How long a chain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Blocks in the chain.
    pub blocks: usize,
    /// Entries in all of them.
    pub entries: usize,
}

impl Survey {
    /// Checks that there are as many entries as their owner `expected`.
    pub(crate) fn with_entries(self, expected: u64) -> Result<Self, Damage> {
        let found = self.entries as u64;
        if found != expected {
            return Err(Damage::EntryCount { expected, found });
        }
        Ok(self)
    }
}

/// Walks a chain that begins at `head` (null: an empty one) and claims none of it.
///
/// A chain that runs in a circle is as damaged as one without an end.
pub(crate) fn survey<E: Record>(memory: &impl Memory, head: PhysAddr) -> Result<Survey, Damage> {
    let mut found = Survey::default();
    let mut at = head;
    while !at.is_null() {
        if found.blocks == MAX_BLOCKS {
            return Err(Damage::ChainLength);
        }
        let header = check::<E>(memory.record(at)?)?;
        found.blocks += 1;
        found.entries += header.count as usize;
        at = PhysAddr(header.next);
    }
    Ok(found)
}
