// SPDX-License-Identifier: GPL-2.0-only

//! Chains of blocks: written for the next kernel, and read from the previous one.

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
        Damage, //
        PhysAddr,
        Record,
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
/// Blocks are allocated by [`BlockWriter::reserve`], and become part of the chain with their first
/// entry: a block without entries would be refused by its reader.
///
/// # Invariants
///
/// The first `len` entries are written; each block that has any is linked to the one before it.
pub(super) struct BlockWriter<E: Record> {
    blocks: KVVec<PreservedPage>,
    kho: Kho,
    charge: Charge,
    len: usize,
    _entry: PhantomData<E>,
}

impl<E: Record> BlockWriter<E> {
    /// An empty chain, whose blocks are charged to who makes room for more.
    pub(super) const fn new(kho: Kho, charge: Charge) -> Self {
        Self {
            blocks: KVVec::new(),
            kho,
            charge,
            len: 0,
            _entry: PhantomData,
        }
    }

    /// Makes room for `total` entries. `ENOSPC` if a chain cannot be that long, `ENOMEM`.
    pub(super) fn reserve(&mut self, total: usize) -> Result {
        let count = chain::blocks_for::<E>(total);
        if count > MAX_BLOCKS {
            return Err(ENOSPC);
        }
        while self.blocks.len() < count {
            let mut block = PreservedPage::new(self.kho, self.charge)?;
            EMPTY.store(block.bytes_mut());
            self.blocks.push(block, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Frees what is not needed for `total` entries, which must not be fewer than are written.
    pub(super) fn shrink(&mut self, total: usize) {
        let total = total.max(self.len);
        // Most of the time there is nothing to free: this asks without a division.
        while let Some(rest) = self.blocks.len().checked_sub(1) {
            if rest * chain::entries_per_block::<E>() < total {
                break;
            }
            self.blocks.truncate(rest);
        }
    }

    /// Writes the next entry. `ENOSPC` if there is no room reserved for it.
    pub(super) fn push(&mut self, entry: &E) -> Result {
        let slot = self.len % chain::entries_per_block::<E>();
        let index = self.len / chain::entries_per_block::<E>();
        let (before, from) = self.blocks.split_at_mut_checked(index).ok_or(ENOSPC)?;
        let block = from.first_mut().ok_or(ENOSPC)?;
        chain::put(block.bytes_mut(), slot, entry);
        if let (0, Some(last)) = (slot, before.last_mut()) {
            chain::set_next(last.bytes_mut(), block.addr());
        }
        self.len += 1;
        Ok(())
    }

    /// Begins anew with no entries, without freeing anything.
    pub(super) fn rewind(&mut self) {
        for block in self.blocks.iter_mut() {
            EMPTY.store(block.bytes_mut());
        }
        self.len = 0;
    }

    /// The first block, or null if there are no entries.
    pub(super) fn head(&self) -> PhysAddr {
        match self.blocks.first() {
            Some(block) if self.len > 0 => block.addr(),
            _ => PhysAddr(0),
        }
    }

    /// How many entries are written.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Takes the chain at `head`, which is as long as `survey` has found, and gives all entries to
/// `each`. Blocks are freed as they have been read.
///
/// An error leaves the rest of the chain where it is. This needs no memory, so that what can be
/// tried again can be done before.
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
    // Nobody can have changed it meanwhile; if somebody has, none of it counts.
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
        let mut blocks = BlockWriter::new(Kho::get().ok_or(ENODEV)?, Charge::Nobody);
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
        let mut blocks = BlockWriter::new(Kho::get().ok_or(ENODEV)?, Charge::Nobody);
        blocks.reserve(PER_BLOCK + 1)?;
        assert!(blocks.head().is_null());
        for token in 0..PER_BLOCK as u64 {
            blocks.push(&entry(token))?;
        }
        assert_eq!(&*counts(&blocks)?, &[(PER_BLOCK as u64, false), (0, false)]);
        Ok(())
    }

    #[test]
    fn no_room_without_reservation() -> Result {
        let kho = Kho::get().ok_or(ENODEV)?;
        let mut blocks = BlockWriter::<FileEntry>::new(kho, Charge::Nobody);
        assert_eq!(blocks.push(&entry(1)), Err(ENOSPC));
        assert_eq!(blocks.reserve(MAX_BLOCKS * PER_BLOCK + 1), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn rewound_and_shrunk() -> Result {
        let mut blocks = BlockWriter::new(Kho::get().ok_or(ENODEV)?, Charge::Nobody);
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
