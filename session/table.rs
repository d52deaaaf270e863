// SPDX-License-Identifier: GPL-2.0-only

//! Sessions by name: a hash table whose entries lie side by side.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::name::Name;

/// What has a name, always the same one.
pub(super) trait Named {
    /// The name.
    fn name(&self) -> &Name;
}

impl<T: Named> Named for Arc<T> {
    fn name(&self) -> &Name {
        T::name(self)
    }
}

/// The end of a chain: the index of no entry.
const NONE: u32 = u32::MAX;

/// There are at least so many chains. A table that has no more is not worth freeing.
const MIN_CHAINS: usize = 16;

/// Things by name. Looking up, inserting and removing take the same time however many there are.
///
/// An entry does not move when another is removed: its place is taken by the next that comes.
///
/// # Invariants
///
/// - The number of chains is 0 or a power of two, and not less than that of things.
/// - Each entry that has a value is in exactly one chain, that of its hash, each of the others in
///   that of the vacant ones. All chains end with [`NONE`].
/// - `len` entries have a value.
pub(super) struct Table<V> {
    /// The index of the first entry of each chain.
    chains: KVVec<u32>,
    entries: KVVec<Entry<V>>,
    /// The index of the first vacant entry.
    vacant: u32,
    len: usize,
}

struct Entry<V> {
    hash: u32,
    /// The index of the next entry of the chain.
    next: u32,
    value: Option<V>,
}

impl<V: Named> Entry<V> {
    fn is(&self, name: &Name) -> bool {
        self.hash == name.hash() && self.value.as_ref().is_some_and(|v| v.name() == name)
    }
}

impl<V: Named> Table<V> {
    /// An empty table, which takes no memory.
    pub(super) const fn new() -> Self {
        Self {
            chains: KVVec::new(),
            entries: KVVec::new(),
            vacant: NONE,
            len: 0,
        }
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All things.
    pub(super) fn iter(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// Makes room for `more` things, exactly if there are none yet. `ENOMEM`.
    pub(super) fn reserve(&mut self, more: usize) -> Result {
        let total = self.len.checked_add(more).ok_or(ENOMEM)?;
        if total >= NONE as usize {
            return Err(ENOMEM);
        }
        let vacant = self.entries.len() - self.len;
        self.entries
            .reserve(more.saturating_sub(vacant), GFP_KERNEL)?;
        if total > self.chains.len() {
            let count = total.next_power_of_two().max(MIN_CHAINS);
            self.chains = KVVec::from_elem(NONE, count, GFP_KERNEL)?;
            // INVARIANT: All entries that have a value go into the new chains.
            for (index, entry) in self.entries.iter_mut().enumerate() {
                if entry.value.is_none() {
                    continue;
                }
                if let Some(first) = chain(&mut self.chains, entry.hash) {
                    entry.next = core::mem::replace(first, index as u32);
                }
            }
        }
        Ok(())
    }

    /// `EEXIST` if the name is in use, `ENOMEM` if no room was reserved and there is none.
    pub(super) fn insert(&mut self, value: V) -> Result {
        if self.find(value.name()).is_some() {
            return Err(EEXIST);
        }
        self.reserve(1)?;
        let hash = value.name().hash();
        let first = chain(&mut self.chains, hash).ok_or(ENOMEM)?;
        // INVARIANT: The entry leads to the one that was the first of its chain.
        let entry = Entry {
            hash,
            next: *first,
            value: Some(value),
        };
        if let Some(place) = self.entries.get_mut(self.vacant as usize) {
            *first = self.vacant;
            self.vacant = place.next;
            *place = entry;
        } else {
            let index = self.entries.len() as u32;
            self.entries
                .push_within_capacity(entry)
                .map_err(|_| ENOMEM)?;
            *first = index;
        }
        self.len += 1;
        Ok(())
    }

    /// The thing of that name.
    pub(super) fn get_mut(&mut self, name: &Name) -> Option<&mut V> {
        let index = self.find(name)?;
        self.entries.get_mut(index)?.value.as_mut()
    }

    /// Drops the thing of that name, and says whether there was one.
    pub(super) fn remove(&mut self, name: &Name) -> bool {
        self.try_remove(name.hash(), |value| value.name() == name)
            .is_some()
    }

    /// Drops the thing that is `this`, whose name has that hash, and says whether there was one.
    pub(super) fn remove_this(&mut self, hash: u32, this: impl Fn(&V) -> bool) -> bool {
        self.try_remove(hash, this).is_some()
    }

    #[inline]
    fn try_remove(&mut self, hash: u32, this: impl Fn(&V) -> bool) -> Option<()> {
        let first = chain(&mut self.chains, hash)?;
        let mut before = NONE;
        let mut index = *first;
        let entry = loop {
            let entry = self.entries.get_mut(index as usize)?;
            if entry.hash == hash && entry.value.as_ref().is_some_and(&this) {
                break entry;
            }
            before = index;
            index = entry.next;
        };
        // INVARIANT: It goes from its chain to that of the vacant ones.
        let next = core::mem::replace(&mut entry.next, self.vacant);
        entry.value = None;
        self.vacant = index;
        self.len -= 1;
        match self.entries.get_mut(before as usize) {
            None => *first = next,
            Some(before) => before.next = next,
        }
        // There is no smaller step: what many sessions needed once, many may need again.
        if self.len == 0 && self.chains.len() > MIN_CHAINS {
            *self = Self::new();
        }
        Some(())
    }

    fn find(&self, name: &Name) -> Option<usize> {
        let mut index = *self.chains.get(slot(&self.chains, name.hash()))?;
        while let Some(entry) = self.entries.get(index as usize) {
            if entry.is(name) {
                return Some(index as usize);
            }
            index = entry.next;
        }
        None
    }
}

fn slot(chains: &[u32], hash: u32) -> usize {
    hash as usize & chains.len().wrapping_sub(1)
}

fn chain(chains: &mut [u32], hash: u32) -> Option<&mut u32> {
    let slot = slot(chains, hash);
    chains.get_mut(slot)
}

#[kunit_tests(liveupdate_table)]
mod tests {
    use super::*;

    struct Thing(Name, u32);

    impl Named for Thing {
        fn name(&self) -> &Name {
            &self.0
        }
    }

    fn name(number: u32) -> Result<Name> {
        let mut field = [0; 64];
        let digits = Iterator::chain(
            b"s".iter().copied(),
            [24, 16, 8, 0].map(|shift| {
                // Never NUL, and few bits that differ.
                (number >> shift) as u8 | 0x80
            }),
        );
        for (to, from) in field.iter_mut().zip(digits) {
            *to = from;
        }
        Name::new(&field).ok_or(EINVAL)
    }

    fn number(index: u32) -> u32 {
        index % 128 + index / 128 * 256
    }

    fn filled(count: u32) -> Result<Table<Thing>> {
        let mut table = Table::new();
        for index in 0..count {
            table.insert(Thing(name(number(index))?, index))?;
        }
        Ok(table)
    }

    #[test]
    fn as_many_as_inserted() -> Result {
        let mut table = filled(1000)?;
        assert_eq!(table.len(), 1000);
        for index in 0..1000 {
            let name = name(number(index))?;
            assert_eq!(table.get_mut(&name).map(|thing| thing.1), Some(index));
            assert_eq!(table.insert(Thing(name, 0)), Err(EEXIST));
        }
        assert!(table.get_mut(&name(number(1000))?).is_none());
        assert!(table.iter().map(|thing| thing.1).eq(0..1000));
        Ok(())
    }

    #[test]
    fn removed_in_any_order() -> Result {
        let mut table = filled(1000)?;
        // Every 7th, over and over again, until none is left.
        for step in 0..1000 {
            let index = (step * 7) % 1000;
            assert!(table.remove(&name(number(index))?));
            assert!(!table.remove(&name(number(index))?));
            assert!(table.get_mut(&name(number(index))?).is_none());
            if step % 100 == 0 {
                for later in step + 1..1000 {
                    let index = (later * 7) % 1000;
                    let found = table.get_mut(&name(number(index))?);
                    assert_eq!(found.map(|thing| thing.1), Some(index));
                }
            }
        }
        assert_eq!(table.len(), 0);
        assert_eq!(table.chains.len(), 0);
        table.insert(Thing(name(1)?, 1))
    }

    #[test]
    fn vacant_places_are_taken() -> Result {
        let mut table = filled(100)?;
        for index in 10..20 {
            assert!(table.remove(&name(number(index))?));
        }
        assert_eq!(table.len(), 90);
        assert!(table
            .iter()
            .map(|thing| thing.1)
            .eq(Iterator::chain(0..10, 20..100)));
        for index in 100..150 {
            table.insert(Thing(name(number(index))?, index))?;
        }
        assert_eq!(table.len(), 140);
        assert_eq!(table.entries.len(), 140);
        for index in Iterator::chain(0..10, 20..150) {
            let found = table.get_mut(&name(number(index))?);
            assert_eq!(found.map(|thing| thing.1), Some(index));
        }
        Ok(())
    }

    #[test]
    fn chains_are_short() -> Result {
        let table = filled(1024)?;
        assert_eq!(table.chains.len(), 1024);
        let mut used = 0;
        for first in table.chains.iter() {
            used += usize::from(*first != NONE);
        }
        // 647 on average if hashes were random.
        assert!(used > 580);
        Ok(())
    }

    #[test]
    fn room_is_exact() -> Result {
        let mut table = Table::<Thing>::new();
        assert!(!table.remove(&name(1)?));
        assert_eq!(table.reserve(NONE as usize), Err(ENOMEM));
        table.reserve(100)?;
        assert_eq!(table.entries.capacity(), 100);
        assert_eq!(table.chains.len(), 128);
        Ok(())
    }
}
