// SPDX-License-Identifier: GPL-2.0-only

//! Files whose pages are in memory: memfds, and tmpfs files that have lost their name.

use core::{
    ops::Range,
    ptr::null_mut, //
};

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        }, //
    },
    types::NotThreadSafe, //
};

use super::{
    bindings,
    folio::ClaimedFolios,
    memcg::Memcg, //
};
use crate::abi::{
    folios::FolioRun,
    memfd::FolioEntry,
    Record,
    PAGE_SIZE, //
};

/// How many folios are pinned at a time: pointers to them fill a page.
const BATCH: usize = 512;

const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// Identifies the content that open files share, as long as one of them is open.
pub(crate) fn inode_id(file: &File) -> usize {
    // SAFETY: The file is open, so it has an inode.
    unsafe { bindings::lu_file_inode(file.as_ptr()) as usize }
}

/// A file of shmem that no path leads to.
///
/// # Invariants
///
/// `file` is one.
pub(crate) struct ShmemFile {
    file: ARef<File>,
}

impl ShmemFile {
    /// Whether `file` is one.
    pub(crate) fn is_one(file: &File) -> bool {
        // SAFETY: The file is open.
        unsafe { bindings::lu_shmem_is_nameless(file.as_ptr()) }
    }

    /// Wraps `file` if it is one.
    pub(crate) fn new(file: ARef<File>) -> Option<Self> {
        // INVARIANT: It was checked.
        Self::is_one(&file).then_some(Self { file })
    }

    /// Makes an empty memfd with `seals`.
    pub(crate) fn with_seals(seals: u32) -> Result<ARef<File>> {
        // Adding F_SEAL_EXEC to a memfd that may be executed adds the seals against writing too.
        // So if they are missing, the file was one that may not.
        let implied = bindings::F_SEAL_SHRINK
            | bindings::F_SEAL_GROW
            | bindings::F_SEAL_WRITE
            | bindings::F_SEAL_FUTURE_WRITE;
        let flags = if seals & bindings::F_SEAL_EXEC != 0 && seals & implied != implied {
            bindings::MFD_NOEXEC_SEAL
        } else {
            bindings::MFD_ALLOW_SEALING
        };
        // SAFETY: The name is a string that is copied.
        let file = from_err_ptr(unsafe { bindings::memfd_alloc_file(c"".as_char_ptr(), flags) })?;
        let file = core::ptr::NonNull::new(file.cast::<File>()).ok_or(ENOMEM)?;
        // SAFETY: A new file has one reference, which is ours, and nobody uses its position yet.
        let file = unsafe { ARef::from_raw(file) };
        // SAFETY: The file is open.
        to_result(unsafe { bindings::memfd_add_seals(file.as_ptr(), seals) })?;
        Ok(file)
    }

    /// The current position.
    pub(crate) fn pos(&self) -> i64 {
        // SAFETY: The file is open.
        unsafe { bindings::lu_file_pos(self.file.as_ptr()) }
    }

    /// `F_SEAL_*`. Seals are only ever added.
    pub(crate) fn seals(&self) -> Result<u32> {
        // SAFETY: The file is open.
        let seals = unsafe { bindings::memfd_get_seals(self.file.as_ptr()) };
        to_result(seals)?;
        Ok(seals as u32)
    }

    /// How many pages are in memory or swapped out, also past the end of the file.
    ///
    /// While the file is frozen it grows, with one exception: a page that cannot be read back from
    /// the swap area is no longer counted.
    pub(crate) fn pages_in_use(&self) -> u64 {
        // SAFETY: The file is open, so it has an inode, which is one of shmem by the invariant.
        unsafe { bindings::lu_shmem_pages(self.inode()) as u64 }
    }

    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: The file is open, so it has an inode.
        unsafe { bindings::lu_file_inode(self.file.as_ptr()) }
    }

    /// Keeps everybody else from changing the inode, as long as the guard lives. May sleep, as long
    /// as somebody who writes to the file makes it wait.
    pub(crate) fn lock(&self) -> InodeGuard<'_> {
        // SAFETY: The inode is that of an open file.
        unsafe { bindings::lu_inode_lock(self.inode()) };
        InodeGuard {
            file: self,
            _not_send: NotThreadSafe,
        }
    }

    /// The size in bytes. It does not change while the file is frozen.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The inode is that of an open file.
        unsafe { bindings::lu_shmem_size(self.inode()) as u64 }
    }

    /// The first run of pages at `start` or after it and before `end` that are in memory or
    /// swapped out: where it begins, and its length, which is cut off at `most`.
    fn next_run(&self, start: u64, end: u64, most: u64) -> Option<(u64, u64)> {
        let mut start = start as usize;
        // SAFETY: The inode is that of an open file.
        let length = unsafe {
            bindings::lu_shmem_next_run(self.inode(), &mut start, end as usize, most as usize)
        };
        (length > 0).then_some((start as u64, length as u64))
    }

    /// Brings the pages of `range` that the file has into memory and where they can stay, pins
    /// them, and gives them to `keep` in ascending order. Holes stay holes. What `keep` leaves is
    /// let go, and the walk ends with its error.
    ///
    /// The file must be frozen, and the range within it: else holes may be filled, or pages be
    /// missed. `EHWPOISON` for memory that is broken, `ENOMEM`, `EIO`. May sleep.
    pub(crate) fn pin_range(
        &self,
        range: Range<u64>,
        batch: &mut PinBatch,
        mut keep: impl FnMut(PinnedFolios<'_>) -> Result,
    ) -> Result {
        // Without a hole in it, which is the rule, there is no need to look for runs.
        let dense = range.start == 0
            && self.pages_in_use() == range.end
            && self
                .next_run(range.end, u64::MAX >> PAGE_SHIFT, 1)
                .is_none();
        let mut start = range.start;
        while start < range.end {
            let run = if dense {
                (start, range.end - start)
            } else {
                match self.next_run(start, range.end, BATCH as u64) {
                    Some(run) => run,
                    None => break,
                }
            };
            let folios = self.pin_run(run, batch)?;
            start = folios.end();
            keep(folios)?;
        }
        Ok(())
    }

    /// Pins as much of a run as fits into the batch.
    fn pin_run<'a>(
        &self,
        (start, length): (u64, u64),
        batch: &'a mut PinBatch,
    ) -> Result<PinnedFolios<'a>> {
        // The last page of the file may be there in part.
        let end = self.size().min((start + length) << PAGE_SHIFT);
        // SAFETY: The file is one of shmem by the type invariant, and there is room for as many
        // folios. A range that is not within the file gives an error.
        let pinned = unsafe {
            bindings::lu_shmem_pin(
                self.file.as_ptr(),
                (start << PAGE_SHIFT) as i64,
                end as i64 - 1,
                batch.0.as_mut_ptr().cast(),
                batch.0.len() as u32,
            )
        };
        let pinned =
            usize::try_from(pinned).map_err(|_| Error::from_errno(pinned as kernel::ffi::c_int))?;
        match batch.0.get_mut(..pinned) {
            // INVARIANT: They were pinned above.
            Some(folios) if pinned > 0 => Ok(PinnedFolios { folios }),
            _ => Err(EFAULT),
        }
    }
}

/// The inode of a file, locked.
pub(crate) struct InodeGuard<'a> {
    file: &'a ShmemFile,
    _not_send: NotThreadSafe,
}

impl InodeGuard<'_> {
    /// Forbids, or allows again, to change the size of the file and to punch holes into it.
    pub(crate) fn freeze(&self, freeze: bool) {
        // SAFETY: The inode is locked, and one of shmem by the invariant of `ShmemFile`.
        unsafe { bindings::lu_shmem_freeze(self.file.inode(), freeze) };
    }
}

/// Room for the folios that are pinned at a time.
pub(crate) struct PinBatch(KVec<FolioPtr>);

impl PinBatch {
    /// Allocates it for a file of `pages` pages, of which a small one shall not pay for much.
    pub(crate) fn new(pages: u64) -> Result<Self> {
        Ok(Self(KVec::from_elem(
            FolioPtr(null_mut()),
            pages.min(BATCH as u64) as usize,
            GFP_KERNEL,
        )?))
    }
}

impl Drop for InodeGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The existence of the guard means that the inode is locked.
        unsafe { bindings::lu_inode_unlock(self.file.inode()) };
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct FolioPtr(*mut bindings::folio);

/// Folios of a file that cannot be moved or reclaimed, in the order of their indexes. Dropping
/// them lets them go.
///
/// # Invariants
///
/// We own a pin of each of `folios`.
pub(crate) struct PinnedFolios<'a> {
    folios: &'a mut [FolioPtr],
}

impl PinnedFolios<'_> {
    /// How many folios are left.
    pub(super) fn len(&self) -> usize {
        self.folios.len()
    }

    /// The page of the file behind the last one.
    fn end(&self) -> u64 {
        match self.folios.last() {
            // SAFETY: By the type invariant the folio is valid and is not split.
            Some(FolioPtr(folio)) => unsafe { bindings::lu_folio_end(*folio) as u64 },
            None => 0,
        }
    }

    /// Hands the first `count` folios over to the next kernel, and writes an entry about each of
    /// them to `entries`. Their pins and the preservation are the caller's from then on. May sleep.
    ///
    /// Gives the number of folios, and of their pages; if it is not `count` or as many as there is
    /// room for, the error.
    pub(super) fn preserve(&mut self, count: usize, entries: &mut [u8]) -> (usize, u64, Result) {
        let count = count
            .min(self.folios.len())
            .min(entries.len() / FolioEntry::SIZE);
        let (mut pages, mut err) = (0, 0);
        // SAFETY: By the type invariant the folios are valid and may be locked; `entries` has room
        // for as many.
        let done = unsafe {
            bindings::lu_preserve_pinned(
                self.folios.as_mut_ptr().cast(),
                count as u32,
                entries.as_mut_ptr().cast(),
                &mut pages,
                &mut err,
            )
        } as usize;
        let folios = core::mem::take(&mut self.folios);
        // INVARIANT: Those that were preserved are the caller's, and ours no longer.
        self.folios = folios.get_mut(done..).unwrap_or_default();
        (
            done,
            pages,
            if done < count { to_result(err) } else { Ok(()) },
        )
    }
}

impl Drop for PinnedFolios<'_> {
    fn drop(&mut self) {
        if !self.folios.is_empty() {
            // SAFETY: By the type invariant the pins are ours.
            unsafe { bindings::unpin_folios(self.folios.as_mut_ptr().cast(), self.folios.len()) };
        }
    }
}

/// A memfd that is being filled with claimed folios, by one thread or by several.
pub(crate) struct Refill {
    file: ARef<File>,
    payer: Memcg,
    /// Pages that were accounted to the file and not settled yet.
    pages: Atomic<i64>,
}

impl Refill {
    /// Begins with an empty memfd that nobody else has, to which it gives a size and a position.
    /// Its pages will be charged to the current task.
    ///
    /// The size comes first: as soon as a large folio is in the page cache it can be split, which
    /// throws away what lies beyond the end of the file.
    pub(crate) fn new(file: ARef<File>, size: i64, pos: i64) -> Self {
        // SAFETY: The file is a memfd, and nobody else has it.
        unsafe { bindings::lu_shmem_set(file.as_ptr(), size, pos) };
        Self {
            file,
            payer: Memcg::current(),
            pages: Atomic::new(0),
        }
    }

    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: The file is open, so it has an inode.
        unsafe { bindings::lu_file_inode(self.file.as_ptr()) }
    }

    /// Who pays for the pages.
    pub(crate) fn payer(&self) -> &Memcg {
        &self.payer
    }

    /// Puts folios where they belong, which must be where none are. May sleep.
    ///
    /// `ENOMEM` or `ENOSPC` if the limits of who is charged or the machine do not allow it.
    pub(crate) fn insert(&self, mut folios: ClaimedFolios<'_>, run: &FolioRun) -> Result {
        let mut err = 0;
        let (folio, count) = folios.as_raw();
        // SAFETY: The file is a memfd, nobody else knows the folios, and they have as many pages.
        let inserted = unsafe {
            bindings::lu_shmem_insert(
                self.inode(),
                self.payer.as_ptr(),
                folio,
                count,
                run.pages as usize,
                run.index as usize,
                run.flags,
                &mut err,
            )
        };
        // SAFETY: These are the file's now.
        unsafe { folios.give(inserted as usize) };
        let result = to_result(err);
        // Then nothing was accounted.
        if result != Err(ENOSPC) {
            self.pages.fetch_add(run.pages as i64, Relaxed);
        }
        result
    }

    /// The file, which has got all that it shall have.
    pub(crate) fn finish(self) -> ARef<File> {
        self.file.clone()
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        // SAFETY: The file is a memfd; the pages are those that were accounted.
        unsafe { bindings::lu_shmem_settle(self.inode(), self.pages.load(Relaxed) as isize) };
    }
}
