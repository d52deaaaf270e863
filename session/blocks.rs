// SPDX-License-Identifier: GPL-2.0-only

//! Chains of one-page blocks: written for the next kernel, and read from the previous one.
//!
//! ```text
//!   head ──► ┌──────────────┐    ┌──────────────┐
//!            │ next         ├──► │ next: 0      │
//!            │ count        │    │ count        │
//!            │ entry, entry │    │ entry        │
//!            │ ...          │    │              │
//!            └──────────────┘    └──────────────┘
//! ```
//!
//! `abi/chain.rs` describes the bytes.

use core::marker::PhantomData;

use kernel::prelude::*;

use crate::{
    abi::{
        chain::{
            self,
            BlockHeader,
            Survey,
            MAX_BLOCKS, //
        },
        pieces::Pieces,
        Damage,
        PhysAddr,
        Record, //
    },
    kapi::{
        handover::Handover,
        kho::{
            Charge,
            Kho,
            PreservedPage, //
        }, //
    }, //
};

/// The header of a block without entries.
const EMPTY: BlockHeader = BlockHeader { next: 0, count: 0 };

/// A chain of blocks for the next kernel.
///
/// [`BlockWriter::reserve`] allocates blocks. Each becomes part of the chain with its first entry:
/// readers take a block without entries for damaged.
///
/// # Invariants
///
/// The first `len` entries are written; each block that has any is linked to the one before it.
pub(super) struct BlockWriter<E: Record> {
    kho: Kho,
    blocks: KVVec<PreservedPage>,
    charge: Charge,
    len: usize,
    /// In how many pieces of memory the blocks are, if that is known.
    pieces: Option<Pieces>,
    _entry: PhantomData<E>,
}

impl<E: Record> BlockWriter<E> {
    /// An empty chain. `charge` says which memory cgroup pays for a block: that of the task that
    /// reserves it, or none.
    pub(super) fn new(kho: Kho, charge: Charge) -> Self {
        Self {
            kho,
            blocks: KVVec::new(),
            charge,
            len: 0,
            pieces: Some(Pieces::default()),
            _entry: PhantomData,
        }
    }

    /// Allocates blocks for `total` entries. `ENOSPC` if a chain cannot be that long, `ENOMEM`.
    pub(super) fn reserve(&mut self, total: usize) -> Result {
        let count = chain::blocks_for::<E>(total);
        if count > MAX_BLOCKS {
            return Err(ENOSPC);
        }
        while self.blocks.len() < count {
            let mut block = PreservedPage::new(self.kho, self.charge)?;
            EMPTY.store(block.bytes_mut());
            self.blocks.push(block, GFP_KERNEL)?;
            if let (Some(pieces), Some(block)) = (&mut self.pieces, self.blocks.last()) {
                block.count_in(pieces);
            }
        }
        Ok(())
    }

    /// Frees the blocks that `total` entries do not need, and none that has entries.
    pub(super) fn shrink(&mut self, total: usize) {
        let needed = chain::blocks_for::<E>(total.max(self.len));
        if needed < self.blocks.len() {
            self.blocks.truncate(needed);
            self.pieces = None;
        }
    }

    /// Writes the next entry. `ENOSPC` if no block is reserved for it.
    pub(super) fn push(&mut self, entry: &E) -> Result {
        let slot = self.len % chain::entries_per_block::<E>();
        let index = self.len / chain::entries_per_block::<E>();
        let (before, from) = self.blocks.split_at_mut_checked(index).ok_or(ENOSPC)?;
        let block = from.first_mut().ok_or(ENOSPC)?;
        chain::put(block.bytes_mut(), slot, entry);
        if let (0, Some(last)) = (slot, before.last_mut()) {
            chain::set_next(last.bytes_mut(), block.addr());
        }
        // INVARIANT: The entry is written, and its block linked if the entry is the first in it.
        self.len += 1;
        Ok(())
    }

    /// Writes the entry of this number anew, if it is written.
    pub(super) fn rewrite(&mut self, nr: usize, entry: &E) {
        let slot = nr % chain::entries_per_block::<E>();
        let index = nr / chain::entries_per_block::<E>();
        if let Some(block) = self.blocks.get_mut(index).filter(|_| nr < self.len) {
            chain::rewrite(block.bytes_mut(), slot, entry);
        }
    }

    /// Forgets all entries, and keeps the blocks.
    pub(super) fn rewind(&mut self) {
        for block in self.blocks.iter_mut() {
            EMPTY.store(block.bytes_mut());
        }
        // INVARIANT: No entry counts, and no block is linked.
        self.len = 0;
    }

    /// The first block, or null if there are no entries.
    pub(super) fn head(&self) -> PhysAddr {
        match self.blocks.first() {
            Some(block) if self.len > 0 => block.addr(),
            _ => PhysAddr(0),
        }
    }

    /// In how many pieces of memory the blocks are. They are only looked at after some were freed.
    pub(super) fn pieces(&mut self) -> Pieces {
        let blocks = &self.blocks;
        *self.pieces.get_or_insert_with(|| {
            let mut pieces = Pieces::default();
            blocks.iter().for_each(|block| block.count_in(&mut pieces));
            pieces
        })
    }

    /// How many entries are written.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Claims the chain at `head`, whose length `survey` has found, and calls `each` with every entry.
/// Each block is freed after its entries have been read.
///
/// After an error the rest of the chain stays where it is. This allocates nothing, so that its
/// caller can do whatever may fail for lack of memory before anything is claimed.
pub(super) fn claim<E: Record>(
    handover: &Handover,
    head: PhysAddr,
    survey: Survey,
    mut each: impl FnMut(E) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let mut at = head;
    let mut entries = 0;
    for _ in 0..survey.blocks {
        let block = handover.claim_pages(at, 0)?;
        let header = chain::check::<E>(BlockHeader::load(block.bytes()))?;
        entries += header.count as usize;
        if entries > survey.entries {
            break;
        }
        chain::entries(block.bytes()).try_for_each(&mut each)?;
        at = PhysAddr(header.next);
    }
    // Memory that was handed over does not change. If this did, somebody wrote to it, and none of
    // it can be trusted.
    if !at.is_null() || entries != survey.entries {
        return Err(Damage::EntryCount {
            expected: survey.entries as u64,
            found: entries as u64,
        });
    }
    Ok(())
}

#[kunit_tests(liveupdate_blocks)]
mod tests {
    use super::*;
    use crate::abi::luo::FileEntry;

    const PER_BLOCK: usize = chain::entries_per_block::<FileEntry>();

    fn kho() -> Result<Kho> {
        Kho::get().ok_or(ENODEV)
    }

    fn entry(token: u64) -> FileEntry {
        FileEntry {
            compatible: [b'x'; 48],
            data: token * 2,
            token,
        }
    }

    fn counts(blocks: &BlockWriter<FileEntry>) -> Result<KVec<(u64, bool)>> {
        let mut counts = KVec::new();
        for block in blocks.blocks.iter() {
            let header = BlockHeader::load(block.bytes());
            counts.push((header.count, header.next != 0), GFP_KERNEL)?;
        }
        Ok(counts)
    }

    #[test]
    fn entries_fill_blocks_in_order() -> Result {
        let mut blocks = BlockWriter::new(kho()?, Charge::Nobody);
        blocks.reserve(PER_BLOCK + 1)?;
        for token in 0..=PER_BLOCK as u64 {
            blocks.push(&entry(token))?;
        }
        assert_eq!(&*counts(&blocks)?, &[(PER_BLOCK as u64, true), (1, false)]);
        let mut tokens = 0;
        for block in blocks.blocks.iter() {
            for found in chain::entries::<FileEntry>(block.bytes()) {
                assert_eq!(found, entry(tokens));
                tokens += 1;
            }
        }
        assert_eq!(tokens, PER_BLOCK as u64 + 1);
        Ok(())
    }

    #[test]
    fn a_block_without_entries_is_not_linked() -> Result {
        let mut blocks = BlockWriter::new(kho()?, Charge::Nobody);
        blocks.reserve(PER_BLOCK + 1)?;
        assert!(blocks.head().is_null());
        for token in 0..PER_BLOCK as u64 {
            blocks.push(&entry(token))?;
        }
        assert_eq!(&*counts(&blocks)?, &[(PER_BLOCK as u64, false), (0, false)]);
        Ok(())
    }

    #[test]
    fn nothing_is_written_without_a_reservation() -> Result {
        let mut blocks = BlockWriter::<FileEntry>::new(kho()?, Charge::Nobody);
        assert_eq!(blocks.push(&entry(1)), Err(ENOSPC));
        assert_eq!(blocks.reserve(MAX_BLOCKS * PER_BLOCK + 1), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn rewound_and_shrunk() -> Result {
        let mut blocks = BlockWriter::new(kho()?, Charge::Nobody);
        blocks.reserve(3 * PER_BLOCK)?;
        for token in 0..2 * PER_BLOCK as u64 {
            blocks.push(&entry(token))?;
        }
        blocks.shrink(0);
        assert_eq!(blocks.blocks.len(), 2);
        blocks.rewind();
        assert_eq!(&*counts(&blocks)?, &[(0, false), (0, false)]);
        blocks.shrink(1);
        assert_eq!(blocks.blocks.len(), 1);
        Ok(())
    }
}
