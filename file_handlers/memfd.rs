// SPDX-License-Identifier: GPL-2.0-only

//! Files in memory: memfds, and tmpfs files that have lost their name.
//!
//! # What crosses kexec
//!
//! The content, in the same physical pages; the size; the position, as of the reboot; the seals. Holes
//! stay holes. The flags of the open file, `FD_CLOEXEC`, the name and the mode do not cross: see
//! [`MemfdBuilder`] for the one case in which that shows.
//!
//! # The life of a page
//!
//! ```text
//!   old kernel                                       │  new kernel
//!                                                    │
//!   preserve   size fixed, no holes punched          │
//!              page moved out of KHO's scratch area, │
//!                pinned, preserved, dirty, up to date│
//!              entry in the folio array              │
//!        │                                           │
//!   (userspace reads, writes and maps it)            │
//!        │                                           │
//!   freeze     position and seals written,           │
//!              pages of holes as in preserve         │
//!        │                                           │
//!     kexec ─────────────────────────────────────────┼─► KHO has reserved and marked the page
//!                                                    │        │
//!                                                    │   retrieve   header peeked, checked, claimed
//!                                                    │              array page claimed
//!                                                    │              page claimed: a folio again
//!                                                    │              charged, in the page cache, on
//!                                                    │                the LRU, dirty
//!                                                    │        │
//!                                                    │   finish     an ordinary page of a memfd
//! ```
//!
//! - *preserve* ([`Preserved::preserve`]) forbids to change the size and to punch holes. All pages that
//!   the file has, also those in the swap area, are brought to where they can stay and are pinned: a
//!   page that moved afterwards would not be the one that the next kernel is told about.
//! - *While it is preserved*, userspace goes on to read, write and map the file. Nobody looks at the
//!   flags of a page again, so each counts as dirty and up to date from the start. A page that was
//!   described as clean and written later would be dropped by the next kernel's reclaim; one that
//!   was allocated, never used, and described as not up to date would be zeroed there over what was
//!   written later. So such pages are zeroed now.
//! - *freeze* ([`Preserved::freeze`]) writes what can change until then: the position, more seals, and
//!   pages that were written into holes. preserve has noted the holes, so freeze looks at nothing
//!   else, and appends what it finds to the array. A page that is written into a hole later, while the
//!   old kernel goes down, does not cross.
//! - *unpreserve* is to drop [`Preserved`]: all pages are unpreserved and unpinned, and then the file
//!   is thawed. The file is what it was, and its content is what userspace wrote meanwhile.
//! - *retrieve* ([`retrieve`]) makes a new memfd and moves the folios into it. Nothing is copied.
//! - *finish* has nothing to do for a file that was retrieved. One that was not is freed
//!   ([`discard`]).
//!
//! # The unhappy path
//!
//! If preserve fails, all is undone, and the file is what it was. If freeze fails, the kexec is
//! refused, and the file stays preserved. It fails for broken memory, for a page that cannot be read
//! back from the swap area, for seals that the format does not know, and without memory.
//!
//! retrieve is tried once. If the header is damaged, nothing was claimed and all of the file stays
//! reserved until the next reboot, because the memory could belong to another user of KHO. If the array is damaged, what
//! comes before the damage is freed, and what comes after it stays reserved. If a folio cannot be
//! inserted, for lack of memory or because it overlaps another one in the file, all folios are freed.

use kernel::{
    error::to_result,
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        }, //
    }, //
};
use pin_init::stack_pin_init;

use super::{
    Added,
    CountedFile,
    Failure,
    FileHandler,
    Outcome,
    PreservedFile, //
};
use crate::{
    abi::{
        array::{
            FileSlice,
            FolioRun,
            Walk, //
        },
        memfd::{
            Header,
            Memfd,
            ALL_SEALS,
            COMPATIBLE, //
        },
        pieces::Pieces,
        units::Order,
        ClaimMemory,
        Damage,
        PhysAddr,
        Record, //
    },
    kapi::{
        claimed::{
            ClaimedFolios,
            ClaimedPages, //
        },
        error::{
            ehwpoison,
            eopnotsupp, //
        },
        handover::Handover,
        kho::{
            Charge,
            Kho,
            PreservedPage, //
        },
        locked_vm::LockedVm,
        memfd_builder::MemfdBuilder,
        parallel,
        pinned::{
            memory_failures,
            swap_writes, //
        },
        preserved::PreservedFolios,
        session_files::{
            IncomingFiles,
            OutgoingFiles, //
        },
        shmem::{
            inode_id,
            Frozen,
            ShmemFile, //
        },
        signal::unless_killed, //
    }, //
};

/// The handler.
pub(super) struct MemfdHandler;

impl FileHandler for MemfdHandler {
    type Preserved = Preserved;

    fn compatible(&self) -> &str {
        COMPATIBLE
    }

    fn accepts(&self, file: &File) -> bool {
        ShmemFile::is_one(file)
    }

    /// Identifies the content of a file: all open files of one inode are one file.
    fn id(&self, file: &File) -> usize {
        inode_id(file)
    }

    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        _session: &dyn OutgoingFiles,
    ) -> Result<KBox<Preserved>> {
        Preserved::preserve(kho, file)
    }

    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        _session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        retrieve(handover, PhysAddr(data))
    }

    /// A file that somebody has asked for has no memory of its own any more: [`retrieve`].
    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        match outcome {
            Outcome::Pending => discard(handover, PhysAddr(data)),
            Outcome::Retrieved(_) | Outcome::Failed(_) => Ok(()),
        }
    }
}

impl PreservedFile for Preserved {
    fn data(&self) -> u64 {
        self.header.addr().0
    }

    fn freeze(&mut self, _session: &dyn OutgoingFiles) -> Result {
        Preserved::freeze(self, &mut Added::default())
    }
}

impl CountedFile for Preserved {
    fn count_in(&self, pieces: &mut Pieces) {
        // In the order in which the pages of a new, small file are allocated.
        pieces.join(self.folios.pieces());
        self.header.count_in(pieces);
        self.folios.count_array_in(pieces);
    }

    fn pages(&self) -> u64 {
        self.folios.pages()
    }

    fn freeze_counted(&mut self, _session: &dyn OutgoingFiles, added: &mut Added) -> Result<u64> {
        Preserved::freeze(self, added)?;
        Ok(self.data())
    }
}

/// Array pages, of 256 folios each, for which one more worker helps to restore a file. A worker for
/// fewer would start after the work is done.
const ARRAY_PAGES_PER_WORKER: usize = 8;

/// What restoring a file may charge beyond its pages: what the kernel charges ahead on each CPU, and
/// nodes of the page cache.
const SPARE_PAGES: u64 = 2048;

/// The seals of a file. `EOPNOTSUPP` if there are some that cannot cross.
fn known_seals(file: &ShmemFile) -> Result<u32> {
    let seals = file.seals()?;
    if seals & !ALL_SEALS != 0 {
        return Err(eopnotsupp());
    }
    Ok(seals)
}

/// A file that is preserved. Dropping it unpreserves the file.
// Fields are dropped in order: as soon as the file is thawed, folios may be removed from it.
pub(crate) struct Preserved {
    header: PreservedPage,
    folios: PreservedFolios,
    account: LockedVm,
    /// How many pages fallocate() left past the end of the file; `None` if that may change.
    pages_past: Option<u64>,
    /// Memory-failure count at the last check that found this file clean.
    failures: u64,
    /// Count of pages written to the swap area at the last look at the holes.
    swap_writes: u64,
    file: Frozen,
}

impl Preserved {
    /// Pins and preserves all of a file.
    ///
    /// `EOPNOTSUPP` for seals that cannot cross, `EFBIG` for more than 2^32-1 pages, `EHWPOISON` for
    /// memory that is broken, `EBUSY` if the file is frozen already, `ENOENT` for any other kind of
    /// file, `EIO` for a page that cannot be read, `ENOMEM` also if `RLIMIT_MEMLOCK` is too low,
    /// `EINTR` if the task is killed.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn preserve(kho: Kho, file: ARef<File>) -> Result<KBox<Self>> {
        let file = ShmemFile::new(file).ok_or(ENOENT)?.freeze()?;
        // All below is dropped before the file is thawed, also after an error.
        let mut header = PreservedPage::new(kho, Charge::Caller)?;
        let seals = known_seals(&file)?;
        let mut folios = PreservedFolios::new(kho, file.end())?;
        let mut account = LockedVm::new();
        let failures = memory_failures();
        let swap_writes = swap_writes();
        folios.fill_gaps(&file, |pages| account.try_add(pages))?;
        let pages_past = match folios.has_gaps() {
            true => file.pages_past(folios.end().max(file.end())),
            false => None,
        };
        describe(&file, seals, &mut folios).store(header.bytes_mut());
        let preserved = Self {
            header,
            folios,
            account,
            pages_past,
            failures,
            swap_writes,
            file,
        };
        Ok(KBox::new(preserved, GFP_KERNEL)?)
    }

    /// Writes what may have changed since: the position, seals that were added, and pages that were
    /// written into holes. These are added to `added`, also after an error.
    ///
    /// `ENOMEM`; `EOPNOTSUPP`, `EHWPOISON` and `EIO` as [`Preserved::preserve`].
    ///
    /// # Context
    ///
    /// May sleep. The inode is not locked: a task that writes to the file can hold that lock for any
    /// time. Because the file is frozen, pages can only be added meanwhile.
    pub(crate) fn freeze(&mut self, added: &mut Added) -> Result {
        let failures = memory_failures();
        // The next kernel would not know that memory is broken, and read it.
        if failures != self.failures && self.folios.any_poisoned() {
            return Err(ehwpoison());
        }
        let seals = known_seals(&self.file)?;
        if self.folios.has_gaps() {
            return self.freeze_with_gaps(failures, seals, added);
        }
        self.failures = failures;
        Header::refresh(self.header.bytes_mut(), self.file.pos(), seals);
        Ok(())
    }

    /// The rest of [`Preserved::freeze`], for a file with holes.
    ///
    /// The number of pages tells whether a page came, unless a page went. That needs a failure of
    /// memory, or of a read from the swap area after a write to it. Then the holes are looked at: what
    /// shmem keeps in the place of such a page is an error.
    fn freeze_with_gaps(&mut self, failures: u64, seals: u32, added: &mut Added) -> Result {
        let expected = self.pages_past.map(|past| past + self.folios.pages());
        let has_all = expected == Some(self.file.pages_in_use());
        // Counted after the pages: a page that is gone was written before.
        let swap_writes = swap_writes();
        if has_all && failures == self.failures && swap_writes == self.swap_writes {
            Header::refresh(self.header.bytes_mut(), self.file.pos(), seals);
            return Ok(());
        }
        let before = self.folios.pages();
        let pieces_before = self.folios.most_pieces();
        let result = self.folios.fill_gaps(&self.file, |_| Ok(()));
        // Pages that were added before an error stay. It is too late to refuse for a limit.
        let pages = self.folios.pages() - before;
        self.account.add(pages);
        added.pages += pages;
        added.pieces += self.folios.most_pieces() - pieces_before;
        describe(&self.file, seals, &mut self.folios).store(self.header.bytes_mut());
        result?;
        (self.failures, self.swap_writes) = (failures, swap_writes);
        Ok(())
    }
}

/// The header of a file.
fn describe(file: &Frozen, seals: u32, folios: &mut PreservedFolios) -> Header {
    let array = folios.descriptor();
    Header::new(file.pos(), file.size(), seals, folios.len() as u64, array)
}

/// Restores the file that `data` describes. Several CPUs do it if the file is large.
///
/// Whatever the outcome, nothing of it is left to be retrieved or discarded afterwards.
///
/// # Context
///
/// May sleep, for as long as it takes to insert all folios.
pub(crate) fn retrieve(handover: &Handover, data: PhysAddr) -> Result<ARef<File>, Failure> {
    let memfd = claim_header(handover, data)?;
    let builder = match MemfdBuilder::new(&memfd) {
        Ok(builder) => builder,
        Err(err) => {
            free_folios(handover, &memfd)?;
            return Err(err.into());
        }
    };
    // The first error, or 0. After one, the remaining folios are only claimed, which frees them.
    let error = Atomic::new(0);
    let insert = |folios: ClaimedFolios<'_>, run: &FolioRun| {
        if error.load(Relaxed) == 0 {
            let inserted = unless_killed().and_then(|()| builder.insert(folios, run));
            if let Err(err) = inserted {
                let _ = error.cmpxchg(0, err.to_errno(), Relaxed);
            }
        }
    };
    match workers(&memfd, &builder, handover.max_folio_order()) {
        0 => memfd.for_each_run(handover, insert)?,
        workers => for_each_run_together(handover, &memfd, workers, insert)?,
    }
    match to_result(error.load(Relaxed)) {
        Ok(()) => Ok(builder.finish()),
        Err(EEXIST) => Err(Damage::FolioOverlap.into()),
        Err(err) => Err(err.into()),
    }
}

/// How many workers should help to restore a file.
///
/// Workers charge the memory cgroup of the task that retrieves the file. When that is full, only the
/// task itself can wait for an OOM kill, or be its victim. So there must clearly be more headroom
/// than is needed. Workers have other credentials than the task, and no address space, by which
/// `vm.overcommit_memory` judges. So the task accounts all blocks itself, before they begin.
fn workers(memfd: &Memfd, builder: &MemfdBuilder, max_order: Order) -> usize {
    let workers = memfd.array_pages() / ARRAY_PAGES_PER_WORKER;
    let needed = memfd.pages() + memfd.pages() / 4 + SPARE_PAGES;
    if workers == 0
        || builder.headroom() < needed
        || builder.account_ahead(memfd.max_pages(max_order)).is_err()
    {
        return 0;
    }
    workers
}

/// The slices of a file that nobody has begun, and the damage that was found so far.
struct Slices<'a> {
    walk: Walk<'a, Handover>,
    /// Of all slices that are damaged, the first in the order of the file: a single task would have
    /// stopped there.
    damaged: Option<(usize, Damage)>,
}

impl Slices<'_> {
    /// The next slice, if no damage was found so far.
    fn next(&mut self) -> Option<FileSlice<ClaimedPages>> {
        if self.damaged.is_some() {
            return None;
        }
        let slice = self.walk.next_slice();
        slice
            .inspect_err(|damage| self.note(self.walk.returned() + 1, *damage))
            .unwrap_or_default()
    }

    /// Notes that slice `nr` is damaged.
    fn note(&mut self, nr: usize, damage: Damage) {
        if self.damaged.is_none_or(|(first, _)| nr < first) {
            self.damaged = Some((nr, damage));
        }
    }
}

/// As [`Memfd::for_each_run`], slice by slice and with workers.
fn for_each_run_together(
    handover: &Handover,
    memfd: &Memfd,
    workers: usize,
    visit: impl Fn(ClaimedFolios<'_>, &FolioRun) + Sync,
) -> Result<(), Damage> {
    stack_pin_init!(let slices = new_mutex!(Slices {
        walk: memfd.walk(handover),
        damaged: None,
    }));
    parallel::run(workers, || loop {
        let Some(slice) = slices.lock().next() else {
            break;
        };
        let nr = slice.nr;
        if let Err(damage) = slice.for_each_run(handover, &visit) {
            slices.lock().note(nr, damage);
        }
    });
    let damaged = slices.lock().damaged;
    damaged.map_or(Ok(()), |(_, damage)| Err(damage))
}

/// Frees the file that `data` describes.
///
/// # Context
///
/// May sleep.
pub(crate) fn discard(handover: &Handover, data: PhysAddr) -> Result<(), Damage> {
    free_folios(handover, &claim_header(handover, data)?)
}

/// Claims all folios of a file, which frees them.
fn free_folios(handover: &Handover, memfd: &Memfd) -> Result<(), Damage> {
    memfd.for_each_run(handover, |_, _| ())
}

/// Reads the header and frees its page.
fn claim_header(handover: &Handover, data: PhysAddr) -> Result<Memfd, Damage> {
    handover.take_record(data, Memfd::new)
}
