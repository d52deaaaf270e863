// SPDX-License-Identifier: GPL-2.0-only

//! Files of shmem that no path leads to: memfds, and tmpfs files that have lost their name.
//!
//! C header: [`include/linux/shmem_fs.h`](srctree/include/linux/shmem_fs.h)

use core::ops::{
    Deref,
    Range, //
};

use kernel::{
    error::to_result,
    fs::File,
    prelude::*,
    sync::aref::ARef,
    types::NotThreadSafe, //
};

use super::{
    bindings,
    pinned::{
        PinBatch,
        PinnedFolios, //
    },
    signal::unless_killed, //
};
use crate::abi::{
    units::{
        pages_in,
        PageIndex, //
    },
    PAGE_SIZE, //
};

/// How many pages are looked at for holes at a time.
const MAX_LOOK: usize = PinBatch::MAX;

/// Past the last page that a file can have.
const MAX_INDEX: PageIndex = PageIndex(u64::MAX / PAGE_SIZE as u64);

/// Identifies the content that open files share, as long as one of them is open.
pub(crate) fn inode_id(file: &File) -> usize {
    // SAFETY: The file is open.
    unsafe { bindings::lu_file_inode(file.as_ptr()) as usize }
}

/// An open file of shmem that no path leads to.
///
/// # Invariants
///
/// `file` is one, and `file->f_mapping` is the mapping of its inode.
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
        // INVARIANT: `is_one` has checked both. The mapping does not change while the file is open.
        Self::is_one(&file).then_some(Self { file })
    }

    /// The current position in bytes.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: The file is open.
        unsafe { bindings::lu_file_pos(self.file.as_ptr()) as u64 }
    }

    /// `F_SEAL_*`. Seals are only ever added.
    pub(crate) fn seals(&self) -> Result<u32> {
        // SAFETY: The file is open.
        let seals = unsafe { bindings::memfd_get_seals(self.file.as_ptr()) };
        to_result(seals)?;
        Ok(seals as u32)
    }

    /// How many pages are in memory or in the swap area, also past the end of the file.
    ///
    /// While the file is frozen the number grows, with two exceptions: a page that cannot be read
    /// back from the swap area no longer counts, nor does one past the end that is dropped. A page
    /// that is being swapped out may count twice.
    pub(crate) fn pages_in_use(&self) -> u64 {
        // SAFETY: By the type invariant the inode is one of shmem.
        unsafe { bindings::lu_shmem_pages(self.inode()) as u64 }
    }

    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: The file is open.
        unsafe { bindings::lu_file_inode(self.file.as_ptr()) }
    }

    /// Forbids to change the size of the file and to punch holes into it. Reading, writing within
    /// the size, and mapping go on.
    ///
    /// `EBUSY` if the file is frozen already, `EINTR` if the task is killed while it waits.
    ///
    /// # Context
    ///
    /// May sleep: a task that writes to the file holds the lock of the inode for as long as it
    /// waits for the memory that it copies from.
    pub(crate) fn freeze(self) -> Result<Frozen> {
        let inode = InodeGuard::lock_killable(&self)?;
        // SAFETY: By the type invariant the inode is one of shmem, and it is locked.
        let frozen = unsafe { bindings::lu_shmem_try_freeze(self.inode()) };
        drop(inode);
        // INVARIANT: Nobody else had frozen it.
        frozen.then_some(Frozen { file: self }).ok_or(EBUSY)
    }
}

/// The lock of an inode, which is held as long as this lives.
struct InodeGuard<'a> {
    file: &'a ShmemFile,
    _not_send: NotThreadSafe,
}

impl<'a> InodeGuard<'a> {
    /// May sleep.
    fn lock(file: &'a ShmemFile) -> Self {
        // SAFETY: The inode is that of a file that stays open as long as the guard lives.
        unsafe { bindings::lu_inode_lock(file.inode()) };
        Self {
            file,
            _not_send: NotThreadSafe,
        }
    }

    /// May sleep. `EINTR` if the task is killed.
    fn lock_killable(file: &'a ShmemFile) -> Result<Self> {
        // SAFETY: The inode is that of a file that stays open as long as the guard lives.
        to_result(unsafe { bindings::lu_inode_lock_killable(file.inode()) })?;
        Ok(Self {
            file,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for InodeGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: It was locked in this task, because a guard is not `Send`.
        unsafe { bindings::lu_inode_unlock(self.file.inode()) };
    }
}

/// A file whose size does not change, and that loses no pages. Dropping it thaws the file.
///
/// # Invariants
///
/// The file is frozen, and nobody else thaws it.
pub(crate) struct Frozen {
    file: ShmemFile,
}

impl Deref for Frozen {
    type Target = ShmemFile;

    fn deref(&self) -> &ShmemFile {
        &self.file
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _inode = InodeGuard::lock(&self.file);
        // SAFETY: By the type invariant we have frozen the inode. It is locked.
        unsafe { bindings::lu_shmem_thaw(self.file.inode()) };
    }
}

impl Frozen {
    /// The size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The inode is that of an open file.
        unsafe { bindings::lu_file_size(self.inode()) as u64 }
    }

    /// Where the file ends: its size in pages, rounded up.
    pub(crate) fn end(&self) -> PageIndex {
        PageIndex::end_of(self.size())
    }

    /// How many pages there are from `start` on, which is past the end of the file and of its last
    /// folio. The number is the same as long as [`swap_writes`] is; `None` if that cannot be
    /// promised.
    ///
    /// # Context
    ///
    /// May sleep.
    ///
    /// [`swap_writes`]: super::pinned::swap_writes
    pub(crate) fn pages_past(&self, start: PageIndex) -> Option<u64> {
        // SAFETY: By the type invariants the inode is one of shmem, and it is frozen.
        let pages = unsafe { bindings::lu_shmem_pages_past(self.inode(), start.0 as usize) };
        (pages != usize::MAX).then_some(pages as u64)
    }

    /// Whether the file has this many pages, all of them in memory.
    fn is_dense(&self, pages: u64) -> bool {
        // SAFETY: By the type invariant the inode is one of shmem.
        unsafe { bindings::lu_shmem_is_dense(self.inode(), pages as usize) }
    }

    /// The first run of pages in `range` that are in memory or in the swap area: where it begins,
    /// and its length, of which at most `max` pages are looked at.
    fn next_run(&self, range: Range<PageIndex>, max: usize) -> Option<Range<PageIndex>> {
        let mut start = range.start.0 as usize;
        // SAFETY: By the type invariant the inode is one of shmem; `start` can be written.
        let length = unsafe {
            bindings::lu_shmem_next_run(self.inode(), &mut start, range.end.0 as usize, max)
        };
        let start = PageIndex(start as u64);
        (length > 0).then_some(start..start.after(length as u64))
    }

    /// Brings the pages of `range` that the file has into memory, moves them to where they can
    /// stay, pins them, and passes them to `keep` in ascending order. Holes stay holes. What `keep`
    /// does not take is unpinned. If `keep` fails, that is the error.
    ///
    /// `EHWPOISON` for memory that is broken, `ENOMEM`, `EIO` for a page that cannot be read,
    /// `EINVAL` for a range that is not within the file, `EINTR` if the task is killed.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn pin_range(
        &self,
        range: Range<PageIndex>,
        batch: &mut PinBatch,
        mut keep: impl FnMut(PinnedFolios<'_>) -> Result,
    ) -> Result {
        // Most files have no hole. Then there is no need to look for runs.
        let dense = range.start == PageIndex::START
            && self.is_dense(pages_in(&range))
            && self.next_run(range.end..MAX_INDEX, 1).is_none();
        let mut left = range;
        while !left.is_empty() {
            let run = if dense {
                left.clone()
            } else {
                match self.next_run(left.clone(), MAX_LOOK) {
                    Some(run) => run,
                    None => break,
                }
            };
            unless_killed()?;
            let folios = self.pin_run(run, batch)?;
            left.start = folios.end().ok_or(EFAULT)?;
            keep(folios)?;
        }
        Ok(())
    }

    /// Pins as much of a run as fits into the batch, at least one folio.
    fn pin_run<'a>(
        &self,
        run: Range<PageIndex>,
        batch: &'a mut PinBatch,
    ) -> Result<PinnedFolios<'a>> {
        // The last page of the file may be there in part.
        let bytes = |index: PageIndex| index.0.saturating_mul(PAGE_SIZE as u64);
        let end = self.size().min(bytes(run.end));
        // SAFETY: By the type invariants of both, `file` is a file of shmem that is frozen.
        unsafe {
            batch.pin(
                self.file.file.as_ptr(),
                bytes(run.start) as i64,
                end as i64 - 1,
            )
        }
    }
}
