// SPDX-License-Identifier: GPL-2.0-only

//! How the folios of a memfd are claimed: the array that lists them is taken part by part, and
//! what a part lists does not depend on the others, so that several CPUs can do it at once.

use core::ops::Range;

use super::{
    memfd::{
        FolioEntry,
        Memfd,
        FOLIO_DIRTY,
        FOLIO_UPTODATE, //
    },
    memory::{
        MAX_FRAMES,
        NO_ORDER, //
    },
    vmalloc::{
        self,
        Descriptor, //
    },
    ClaimMemory,
    Damage, //
    PhysAddr,
    Record,
};

impl Memfd {
    /// Begins to claim the array of the file.
    pub(crate) fn walk<'a, M: ClaimMemory>(&self, memory: &'a M) -> Walk<'a, M> {
        Walk::new(self, memory)
    }

    /// How many parts the array has: what [`Walk::next_piece`] gives at the most.
    pub(crate) fn parts(&self) -> usize {
        self.array().check().unwrap_or_default()
    }

    /// Claims the folios of the file and the array that lists them, in order, and gives them to
    /// `visit` in runs.
    ///
    /// At the first thing that is wrong it stops, and leaves what comes after it to nobody.
    pub(crate) fn for_each_run<M: ClaimMemory>(
        &self,
        memory: &M,
        mut visit: impl FnMut(M::Folios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let mut walk = self.walk(memory);
        while let Some(piece) = walk.next_piece()? {
            piece.for_each_run(memory, &mut visit)?;
        }
        Ok(())
    }
}

/// The way along the array of a file. It claims its parts in order, one more than it has given
/// away: a piece ends in the file where the next one begins.
pub(crate) struct Walk<'a, M: ClaimMemory> {
    memory: &'a M,
    array: Descriptor,
    /// As many as the header says.
    nr_folios: u64,
    /// Of the file.
    pages: u64,
    max_order: u32,
    parts_left: usize,
    lists_left: usize,
    /// Entries behind those of the parts that were claimed.
    entries_left: u64,
    /// The list that is being read, and how far.
    list: Option<M::Pages>,
    slot: usize,
    next_list: u64,
    /// The part that was claimed and not given away yet, and what is wrong behind it.
    ahead: Option<Part<M::Pages>>,
    wrong: Option<Damage>,
    given: usize,
}

/// A part of the array.
struct Part<P> {
    pages: P,
    /// How many entries it has.
    count: usize,
    /// Where the first folio begins in the file, if that can be believed.
    first: u64,
}

impl<'a, M: ClaimMemory> Walk<'a, M> {
    fn new(memfd: &Memfd, memory: &'a M) -> Self {
        let array = memfd.array();
        let mut walk = Self {
            memory,
            array,
            nr_folios: memfd.nr_folios(),
            pages: memfd.pages(),
            max_order: memory.max_folio_order(),
            parts_left: 0,
            lists_left: 0,
            entries_left: memfd.nr_folios(),
            list: None,
            slot: 0,
            next_list: array.first,
            ahead: None,
            wrong: None,
            given: 0,
        };
        // There is no array for no folios.
        if walk.nr_folios > 0 {
            match array.check() {
                Ok(parts) => {
                    walk.parts_left = parts;
                    walk.lists_left = vmalloc::lists_for(parts);
                    walk.look_ahead(None);
                }
                Err(why) => walk.wrong = Some(why),
            }
        }
        walk
    }

    /// The next piece; `None` behind the last, and behind an error.
    ///
    /// What is wrong is told when all pieces before it were given.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece<M::Pages>>, Damage> {
        let Some(part) = self.ahead.take() else {
            return self.wrong.take().map_or(Ok(None), Err);
        };
        self.look_ahead(Some(part.first));
        let in_order = match &self.ahead {
            Some(next) => FolioOrder::within(part.first..next.first, self.max_order),
            None => FolioOrder::to_the_end(part.first..self.pages, self.max_order),
        };
        self.given += 1;
        Ok(Some(Piece {
            nr: self.given,
            pages: part.pages,
            count: part.count,
            in_order,
        }))
    }

    /// Claims the next part, which must begin behind the one before it.
    fn look_ahead(&mut self, before: Option<u64>) {
        match self.claim_part() {
            Ok(Some(next))
                if before.is_some_and(|b| next.first <= b || next.first >= self.pages) =>
            {
                self.wrong = Some(Damage::FolioIndex { index: next.first });
            }
            Ok(next) => self.ahead = next,
            Err(why) => self.wrong = Some(why),
        }
    }

    /// How many pieces were given.
    pub(crate) fn given(&self) -> usize {
        self.given
    }

    /// Claims the next part; `None` behind the last.
    fn claim_part(&mut self) -> Result<Option<Part<M::Pages>>, Damage> {
        let Some(at) = self.next_address()? else {
            if self.entries_left > 0 {
                let found = self.nr_folios - self.entries_left;
                return Err(Damage::ArrayLength {
                    entries: self.nr_folios,
                    capacity: found,
                });
            }
            return Ok(None);
        };
        self.parts_left = self.parts_left.checked_sub(1).ok_or(Damage::ArrayForm)?;
        let pages = self.memory.claim_pages(at, self.array.order.into())?;
        let entries = pages.as_ref();
        let room = entries.len() / FolioEntry::SIZE;
        let count = self.entries_left.min(room as u64) as usize;
        let behind = entries.get(count * FolioEntry::SIZE..).unwrap_or_default();
        // What follows the empty entry is not part of the array. A number that is too small would
        // lose content in silence.
        if count < room && !FolioEntry::load(behind).is_empty() {
            return Err(Damage::ArrayLength {
                entries: self.nr_folios,
                capacity: self.nr_folios + 1,
            });
        }
        self.entries_left -= count as u64;
        Ok(Some(Part {
            first: FolioEntry::load(entries).index,
            pages,
            count,
        }))
    }

    /// Where the next part is. List pages are claimed as they are needed, and freed as they have
    /// been read.
    fn next_address(&mut self) -> Result<Option<PhysAddr>, Damage> {
        loop {
            if let Some(list) = &self.list {
                let at = vmalloc::part(list.as_ref(), self.slot);
                if at != 0 && self.slot < vmalloc::PARTS_PER_CHUNK {
                    self.slot += 1;
                    return Ok(Some(PhysAddr(at)));
                }
                self.next_list = vmalloc::next(list.as_ref());
                self.list = None;
            }
            if self.next_list == 0 {
                return Ok(None);
            }
            self.lists_left = self.lists_left.checked_sub(1).ok_or(Damage::ArrayForm)?;
            self.list = Some(self.memory.claim_pages(PhysAddr(self.next_list), 0)?);
            self.slot = 0;
        }
    }
}

/// A part of the array that was claimed. Its folios were not: they must lie where the pieces before
/// and after it have none, whatever those list.
pub(crate) struct Piece<P> {
    /// Its number: 1 is the first.
    pub(crate) nr: usize,
    pages: P,
    count: usize,
    in_order: FolioOrder,
}

impl<P: AsRef<[u8]>> Piece<P> {
    /// Claims the folios, in order, and gives them to `visit` in runs. The part of the array is
    /// freed then.
    ///
    /// At the first thing that is wrong it stops, and leaves what comes after it to nobody.
    pub(crate) fn for_each_run<M: ClaimMemory<Pages = P>>(
        mut self,
        memory: &M,
        mut visit: impl FnMut(M::Folios<'_>, &FolioRun),
    ) -> Result<(), Damage> {
        let entries = self.pages.as_ref().get(..self.count * FolioEntry::SIZE);
        for entries in entries
            .unwrap_or_default()
            .chunks(MAX_FRAMES * FolioEntry::SIZE)
        {
            // A small file shall not pay for room that it does not need.
            if entries.len() <= FEW * FolioEntry::SIZE {
                claim_entries::<_, FEW>(memory, &mut self.in_order, entries, &mut visit)?;
            } else {
                claim_entries::<_, MAX_FRAMES>(memory, &mut self.in_order, entries, &mut visit)?;
            }
        }
        Ok(())
    }
}

/// As many folios as a small file has.
const FEW: usize = 2;

/// Folios of one order that follow each other in a file, without a hole between them, and have the
/// same flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolioRun {
    /// Where the first begins in the file, in pages.
    pub(crate) index: u64,
    /// How many pages they have.
    pub(crate) pages: u64,
    /// `FOLIO_*`.
    pub(crate) flags: u64,
}

impl FolioRun {
    const EMPTY: Self = Self {
        index: 0,
        pages: 0,
        flags: 0,
    };
}

/// Claims the folios of up to `N` entries.
///
/// If one of them is wrong, those before it are claimed all the same.
// It is the loop over all pages of a file; among what calls it, registers would be short.
#[inline(never)]
fn claim_entries<M: ClaimMemory, const N: usize>(
    memory: &M,
    in_order: &mut FolioOrder,
    entries: &[u8],
    visit: &mut impl FnMut(M::Folios<'_>, &FolioRun),
) -> Result<(), Damage> {
    let mut frames = [0; N];
    let mut orders = [NO_ORDER; N];
    let count = Iterator::zip(frames.iter_mut(), entries.chunks_exact(FolioEntry::SIZE))
        .map(|(frame, entry)| *frame = FolioEntry::load(entry).pfn())
        .count();
    let mut frames = frames.get(..count).unwrap_or_default();
    memory.orders(frames, orders.get_mut(..count).unwrap_or_default());
    let mut orders = orders.get(..count).unwrap_or_default();
    let mut entries = entries;
    while !frames.is_empty() {
        let (length, run) = in_order.next_run(entries, orders)?;
        let (of_run, behind) = frames.split_at_checked(length).unwrap_or_default();
        let (its_orders, orders_behind) = orders.split_at_checked(length).unwrap_or_default();
        memory.claim_folios::<N>(of_run, its_orders, |folios| visit(folios, &run))?;
        entries = entries.get(length * FolioEntry::SIZE..).unwrap_or_default();
        (frames, orders) = (behind, orders_behind);
    }
    Ok(())
}

/// Checks that folios follow each other in the file, and lie where they may.
#[derive(Debug)]
pub(crate) struct FolioOrder {
    /// No folio may begin before this page, or behind `end`.
    next: u64,
    end: u64,
    /// Whether the last folio may reach over `end`, as one may that has the end of the file in it.
    reaches_over: bool,
    max_order: u32,
}

impl FolioOrder {
    /// For folios of up to `1 << max_order` pages that lie within `range`, in pages.
    pub(crate) fn within(range: Range<u64>, max_order: u32) -> Self {
        Self {
            next: range.start,
            end: range.end,
            reaches_over: false,
            max_order,
        }
    }

    /// As [`FolioOrder::within`], but `range` ends where the file does.
    pub(crate) fn to_the_end(range: Range<u64>, max_order: u32) -> Self {
        Self {
            reaches_over: true,
            ..Self::within(range, max_order)
        }
    }

    /// Whether a folio that begins at `index` and ends before `after` is not too far behind.
    #[inline]
    fn fits(&self, index: u64, after: u64) -> bool {
        after <= self.end || self.reaches_over && index < self.end
    }

    /// The run that begins with the first of `entries`, whose folios have the `orders`, and how
    /// many of them it has.
    // It looks at all folios of a file, and does nothing else so that registers suffice.
    #[inline(never)]
    fn next_run(&mut self, entries: &[u8], orders: &[u8]) -> Result<(usize, FolioRun), Damage> {
        let mut folios = Iterator::zip(
            entries.chunks_exact(FolioEntry::SIZE).map(FolioEntry::load),
            orders.iter().copied(),
        );
        let Some((first, order)) = folios.next() else {
            return Ok((0, FolioRun::EMPTY));
        };
        let mut run = self.begin(&first, order)?;
        // Of one order, they are aligned as the first one is.
        let fit = self.end.saturating_sub(self.next) >> (order & 63);
        let mut next = self.next;
        let more = folios
            .take(fit as usize)
            .take_while(|(entry, its_order)| {
                let goes_on =
                    *its_order == order && entry.index == next && entry.flags() == run.flags;
                if goes_on {
                    next += run.pages;
                }
                goes_on
            })
            .count();
        run.pages += next - self.next;
        self.next = next;
        Ok((1 + more, run))
    }

    /// Begins a run with the next folio, of this order if it is not [`NO_ORDER`].
    pub(crate) fn begin(&mut self, entry: &FolioEntry, order: u8) -> Result<FolioRun, Damage> {
        if u32::from(order) > self.max_order {
            return Err(match order {
                NO_ORDER => Damage::Address { at: entry.addr() },
                _ => Damage::FolioOrder {
                    order: order.into(),
                },
            });
        }
        let nr = 1u64 << (order & 63);
        let index = entry.index;
        let after = index.saturating_add(nr);
        if index < self.next || !self.fits(index, after) || index & (nr - 1) != 0 {
            return Err(Damage::FolioIndex { index });
        }
        if entry.flags() & !(FOLIO_DIRTY | FOLIO_UPTODATE) != 0 {
            return Err(Damage::Flags {
                flags: entry.flags(),
            });
        }
        self.next = after;
        Ok(FolioRun {
            index,
            pages: nr,
            flags: entry.flags(),
        })
    }
}
