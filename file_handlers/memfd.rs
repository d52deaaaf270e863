// SPDX-License-Identifier: GPL-2.0-only

//! Files in memory: memfds, and tmpfs files without a name.
//!
//! # What crosses
//!
//! Content (in the same physical pages), size, position and seals. Status flags, `FD_CLOEXEC` and
//! the name do not. Holes stay holes.
//!
//! # While it is preserved
//!
//! Every page is pinned outside of the memory that the next kernel boots in. The size cannot
//! change and no holes can be punched; reading, writing and mapping go on until the last moment.
//! The position, seals and pages that have come into holes are picked up when the kexec is
//! entered. A page that comes into a hole after that does not cross.

use core::ops::Range;

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
    Failure,
    FileHandler,
    PreservedFile, //
};
use crate::{
    abi::{
        folios::{
            FolioRun,
            Piece,
            Walk, //
        },
        memfd::{
            Header,
            Memfd,
            ALL_SEALS,
            COMPATIBLE, //
        },
        Damage,
        Memory,
        PhysAddr,
        Record,
        PAGE_SIZE, //
    },
    kapi::{
        error::{
            ehwpoison,
            eopnotsupp, //
        },
        folio::{
            memory_failures,
            ClaimedFolios,
            FolioArray, //
        },
        handover::{
            ClaimedPages,
            Handover, //
        },
        kho::{
            Charge,
            Kho,
            PreservedPage, //
        },
        memlock::Pinned,
        parallel,
        shmem::{
            inode_id,
            PinBatch,
            Refill,
            ShmemFile, //
        }, //
    }, //
};

/// The handler.
pub(super) struct MemfdHandler;

impl FileHandler for MemfdHandler {
    type Preserved = Preserved;

    fn compatible(&self) -> &'static str {
        COMPATIBLE
    }

    fn identify(&self, file: &File) -> Option<usize> {
        identify(file)
    }

    fn preserve(&self, kho: Kho, file: ARef<File>) -> Result<Preserved> {
        Preserved::preserve(kho, file)
    }

    fn retrieve(&self, handover: &Handover, data: u64) -> Result<ARef<File>, Failure> {
        retrieve(handover, PhysAddr(data))
    }

    fn discard(&self, handover: &Handover, data: u64) -> Result<(), Damage> {
        discard(handover, PhysAddr(data))
    }
}

impl PreservedFile for Preserved {
    fn data(&self) -> u64 {
        Preserved::data(self).0
    }

    fn freeze(&mut self) -> Result {
        Preserved::freeze(self)
    }
}

/// No more folios than this: the C implementation counts them in 32 bits.
const MAX_PAGES: u64 = u32::MAX as u64;

/// One more CPU restores a file for so many parts of its array, of 256 folios each. With less to
/// do, it would come too late.
const PARTS_EACH: usize = 8;

/// Memory that those who restore a file may be charged for beyond its pages: what the kernel
/// charges ahead on each CPU, and nodes of the page cache.
const SPARE_PAGES: u64 = 2048;

/// The seals of a file. `EOPNOTSUPP` if there are some that cannot cross.
fn known_seals(file: &ShmemFile) -> Result<u32> {
    let seals = file.seals()?;
    if seals & !ALL_SEALS != 0 {
        return Err(eopnotsupp());
    }
    Ok(seals)
}

/// What tells two files apart, if this handler preserves such files.
pub(crate) fn identify(file: &File) -> Option<usize> {
    ShmemFile::is_one(file).then(|| inode_id(file))
}

/// A file on its way out. Dropping it gives it back.
pub(crate) struct Preserved {
    kho: Kho,
    file: ShmemFile,
    header: PreservedPage,
    folios: FolioArray,
    /// How much memory had been found to be bad when that of the file was not among it.
    failures: u64,
    account: Pinned,
}

impl Preserved {
    /// Pins and preserves all of a file.
    ///
    /// `EOPNOTSUPP` for seals that cannot cross, `EFBIG` for more than 2^32-1 pages, `EHWPOISON` for
    /// memory that is broken, `ENOMEM` also if `RLIMIT_MEMLOCK` does not allow it.
    pub(crate) fn preserve(kho: Kho, file: ARef<File>) -> Result<Self> {
        let file = ShmemFile::new(file).ok_or(ENOENT)?;
        let mut header = PreservedPage::new(kho, Charge::Caller)?;
        let mut folios = FolioArray::new(kho);
        let mut account = Pinned::new();
        let failures = memory_failures();
        let inode = file.lock();
        let seals = known_seals(&file)?;
        let size = file.size();
        let pages = size.div_ceil(PAGE_SIZE as u64);
        if pages > MAX_PAGES {
            return Err(EFBIG);
        }
        inode.freeze(true);
        let pinned = PinBatch::new(pages).and_then(|mut batch| {
            file.pin_range(0..pages, &mut batch, |pinned| {
                account.add(folios.extend(pinned)?)
            })
        });
        if let Err(err) = pinned {
            drop(folios);
            inode.freeze(false);
            return Err(err);
        }
        describe(&file, size, seals, &mut folios).store(header.bytes_mut());
        drop(inode);
        Ok(Self {
            kho,
            file,
            header,
            folios,
            failures,
            account,
        })
    }

    /// What the next kernel is told.
    pub(crate) fn data(&self) -> PhysAddr {
        self.header.addr()
    }

    /// Writes what may have changed since: the position, seals that were added, and pages that
    /// have come into holes.
    ///
    /// `ENOMEM`, and `EOPNOTSUPP` and `EHWPOISON` as [`Preserved::preserve`].
    pub(crate) fn freeze(&mut self) -> Result {
        self.check_memory()?;
        let seals = known_seals(&self.file)?;
        if self.file.pages_in_use() == self.folios.pages() {
            Header::refresh(self.header.bytes_mut(), self.file.pos() as u64, seals);
            return Ok(());
        }
        // Its inode is not locked: who writes to the file can hold it for as long as it likes, and
        // because the file is frozen, only more pages can come meanwhile, as after this.
        let size = self.file.size();
        let late = pin_late(self.kho, &self.file, size, &self.folios)?;
        if late.len() > 0 {
            let pages = late.pages();
            self.folios.merge(late)?;
            // It is too late to ask whether the limit allows it.
            self.account.add_anyway(pages);
        }
        describe(&self.file, size, seals, &mut self.folios).store(self.header.bytes_mut());
        Ok(())
    }

    /// `EHWPOISON` if memory of the file has become bad: the next kernel would not know, and read
    /// it. That is looked for only if some memory has.
    fn check_memory(&mut self) -> Result {
        let failures = memory_failures();
        if failures != self.failures {
            if self.folios.any_poisoned() {
                return Err(ehwpoison());
            }
            self.failures = failures;
        }
        Ok(())
    }
}

/// The header of a file.
fn describe(file: &ShmemFile, size: u64, seals: u32, folios: &mut FolioArray) -> Header {
    let array = folios.descriptor();
    Header {
        pos: file.pos() as u64,
        size,
        seals,
        flags: 0,
        nr_folios: folios.len() as u64,
        first: array.map_or(0, |a| a.first),
        total_pages: array.map_or(0, |a| a.total_pages),
        array_flags: array.map_or(0, |a| a.flags),
        order: array.map_or(0, |a| a.order),
    }
}

/// Pins and preserves the pages of a file that `known` does not have: it looks at what lies
/// between the folios in there.
fn pin_late(kho: Kho, file: &ShmemFile, size: u64, known: &FolioArray) -> Result<FolioArray> {
    let mut late = FolioArray::new(kho);
    let end = size.div_ceil(PAGE_SIZE as u64);
    let mut batch = PinBatch::new(end)?;
    let mut look = |range: Range<u64>| {
        if range.is_empty() {
            return Ok(());
        }
        file.pin_range(range, &mut batch, |pinned| late.extend(pinned).map(|_| ()))
    };
    let mut from = 0;
    for (entry, nr_pages) in known.entries() {
        look(from..entry.index)?;
        from = entry.index + nr_pages;
    }
    look(from..end)?;
    Ok(late)
}

impl Drop for Preserved {
    fn drop(&mut self) {
        let inode = self.file.lock();
        // The folios may be removed from the file as soon as it is thawed.
        self.folios = FolioArray::new(self.kho);
        inode.freeze(false);
    }
}

/// Gives the file back that `data` describes. Several CPUs do it if it is large.
///
/// Whatever the outcome, nothing of it is left to be retrieved or discarded afterwards.
pub(crate) fn retrieve(handover: &Handover, data: PhysAddr) -> Result<ARef<File>, Failure> {
    let memfd = claim_header(handover, data)?;
    let refill = ShmemFile::with_seals(memfd.seals())
        .map(|file| Refill::new(file, memfd.size(), memfd.pos()));
    // The first error, or 0.
    let error = Atomic::new(refill.as_ref().err().map_or(0, |err| err.to_errno()));
    // After an error the walk goes on, to free what is left.
    let insert = |folios: ClaimedFolios<'_>, run: &FolioRun| {
        if let (Ok(refill), 0) = (&refill, error.load(Relaxed)) {
            if let Err(err) = refill.insert(folios, run) {
                let _ = error.cmpxchg(0, err.to_errno(), Relaxed);
            }
        }
    };
    match refill.as_ref().map_or(0, |refill| helpers(&memfd, refill)) {
        0 => memfd.for_each_run(handover, insert)?,
        helpers => walk_together(handover, &memfd, helpers, insert)?,
    }
    to_result(error.load(Relaxed))?;
    Ok(refill?.finish())
}

/// How many kernel threads shall help to restore a file.
///
/// They make the caller's memory cgroup pay, but when it is full, only the caller itself can wait
/// for somebody to be killed, or be killed. So there must be clearly more room than is needed.
fn helpers(memfd: &Memfd, refill: &Refill) -> usize {
    let helpers = memfd.parts() / PARTS_EACH;
    if helpers == 0 || refill.payer().room() < memfd.pages() + memfd.pages() / 4 + SPARE_PAGES {
        return 0;
    }
    helpers
}

/// What is wrong with a file, of all that those who restore it have found: the first in its order,
/// which is what one who does it alone would find.
struct Pieces<'a> {
    walk: Walk<'a, Handover>,
    refused: Option<(usize, Damage)>,
}

impl Pieces<'_> {
    /// The next piece, if nothing is wrong so far.
    fn next(&mut self) -> Option<Piece<ClaimedPages>> {
        if self.refused.is_some() {
            return None;
        }
        let piece = self.walk.next_piece();
        piece
            .inspect_err(|why| self.refuse(self.walk.given() + 1, *why))
            .unwrap_or_default()
    }

    /// Notes what is wrong with piece `nr`.
    fn refuse(&mut self, nr: usize, why: Damage) {
        if self.refused.is_none_or(|(first, _)| nr < first) {
            self.refused = Some((nr, why));
        }
    }
}

/// As [`Memfd::for_each_run`], piece by piece with the help of kernel threads.
fn walk_together(
    handover: &Handover,
    memfd: &Memfd,
    helpers: usize,
    visit: impl Fn(ClaimedFolios<'_>, &FolioRun) + Sync,
) -> Result<(), Damage> {
    stack_pin_init!(let pieces = new_mutex!(Pieces {
        walk: memfd.walk(handover),
        refused: None,
    }));
    parallel::run(helpers, || loop {
        let Some(piece) = pieces.lock().next() else {
            break;
        };
        let nr = piece.nr;
        if let Err(why) = piece.for_each_run(handover, &visit) {
            pieces.lock().refuse(nr, why);
        }
    });
    let refused = pieces.lock().refused;
    refused.map_or(Ok(()), |(_, why)| Err(why))
}

/// Frees the file that `data` describes.
pub(crate) fn discard(handover: &Handover, data: PhysAddr) -> Result<(), Damage> {
    claim_header(handover, data)?.for_each_run(handover, |_, _| ())
}

/// Reads the header and frees its page.
///
/// The page is taken only after its copy was found to be good: one that is not a header may be
/// anything that was handed over, and is better left alone than freed.
fn claim_header(handover: &Handover, data: PhysAddr) -> Result<Memfd, Damage> {
    let memfd = Memfd::new(handover.record(data)?)?;
    handover.claim_pages(data, 0)?;
    Ok(memfd)
}
