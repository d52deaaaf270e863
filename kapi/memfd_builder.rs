// SPDX-License-Identifier: GPL-2.0-only

//! A new memfd, while it is filled with folios that were handed over.
//!
//! C header: [`include/linux/memfd.h`](srctree/include/linux/memfd.h)

use core::ptr::{
    null_mut,
    NonNull, //
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
    }, //
};

use super::{
    bindings,
    claimed::ClaimedFolios,
    memcg::MemCgroup, //
};
use crate::abi::{
    array::FolioRun,
    memfd::{
        Memfd,
        FOLIO_UPTODATE, //
    },
    units::{
        Order,
        PageIndex, //
    }, //
};

/// Makes an empty memfd with `seals`.
///
/// `memfd-v2` does not say whether the file may be executed, so the seals must. Adding `F_SEAL_EXEC`
/// to a memfd that may be executed adds the seals against writing too. So a file with `F_SEAL_EXEC`
/// and without one of those was created with `MFD_NOEXEC_SEAL`, and comes back as such. A file with
/// all of these seals may have been either. It comes back executable, as the C implementation
/// restores it: a sealed program that can no longer be run would not be what was preserved. So a
/// `MFD_NOEXEC_SEAL` memfd that was sealed completely has its mode bits for execution set again.
fn empty_memfd(seals: u32) -> Result<ARef<File>> {
    let implied = bindings::F_SEAL_SHRINK
        | bindings::F_SEAL_GROW
        | bindings::F_SEAL_WRITE
        | bindings::F_SEAL_FUTURE_WRITE;
    let flags = if seals & bindings::F_SEAL_EXEC != 0 && seals & implied != implied {
        bindings::MFD_NOEXEC_SEAL
    } else {
        bindings::MFD_ALLOW_SEALING
    };
    // SAFETY: The name ends with a NUL, and is copied.
    let file = from_err_ptr(unsafe { bindings::memfd_alloc_file(c"".as_char_ptr(), flags) })?;
    let file = NonNull::new(file.cast::<File>()).ok_or(ENOMEM)?;
    // SAFETY: A new file has one reference, which is ours. There is no other user of its position.
    let file = unsafe { ARef::from_raw(file) };
    // SAFETY: The file is open.
    to_result(unsafe { bindings::memfd_add_seals(file.as_ptr(), seals) })?;
    Ok(file)
}

/// A memfd that one task or several fill with folios. Userspace gets it when it is finished.
///
/// # Invariants
///
/// - `file` is a memfd that nobody else can reach. It ends at `end`.
/// - `accounted` is the number of pages for which blocks were accounted to it, and `unused` the number
///   of those for which no folio was passed to [`MemfdBuilder::insert`] yet.
pub(crate) struct MemfdBuilder {
    file: ARef<File>,
    end: PageIndex,
    memcg: Option<ARef<MemCgroup>>,
    accounted: Atomic<i64>,
    unused: Atomic<i64>,
}

impl MemfdBuilder {
    /// Makes a memfd that has the size, position and seals of `memfd`, and no pages. Its pages will
    /// be charged to the memory cgroup of the current task.
    ///
    /// `ENOMEM`, `ENFILE`, or an error of a security module.
    ///
    /// # Context
    ///
    /// May sleep.
    pub(crate) fn new(memfd: &Memfd) -> Result<Self> {
        let file = empty_memfd(memfd.seals())?;
        // The size must be set before the first folio is inserted, which can be split from then on:
        // that drops what lies past the end.
        // SAFETY: Nobody else can reach the new file.
        unsafe { bindings::lu_file_set(file.as_ptr(), memfd.size(), memfd.pos()) };
        // INVARIANT: The file has this size, and nothing is accounted yet.
        Ok(Self {
            file,
            end: memfd.end(),
            memcg: MemCgroup::of_current(),
            accounted: Atomic::new(0),
            unused: Atomic::new(0),
        })
    }

    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: The file is open.
        unsafe { bindings::lu_file_inode(self.file.as_ptr()) }
    }

    /// How many pages can be charged before the memory cgroup has to reclaim some.
    pub(crate) fn headroom(&self) -> u64 {
        self.memcg
            .as_ref()
            .map_or(u64::MAX, |memcg| memcg.headroom())
    }

    /// Accounts blocks for at most `pages` pages in the name of the current task, before other tasks
    /// insert folios. What is not used is given back in the end.
    ///
    /// `ENOMEM` or `ENOSPC` if the machine or the mount of shmem does not allow it.
    pub(crate) fn account_ahead(&self, pages: u64) -> Result {
        // All of them are in memory already.
        // SAFETY: It can be called in any context.
        let pages = pages.min(unsafe { bindings::lu_ram_pages() } as u64);
        self.account(pages)?;
        // INVARIANT: No folio was passed to `insert` for these.
        self.unused.fetch_add(pages as i64, Relaxed);
        Ok(())
    }

    fn account(&self, pages: u64) -> Result {
        // SAFETY: By the type invariant the inode is one of shmem.
        to_result(unsafe { bindings::shmem_inode_acct_blocks(self.inode(), pages as isize) })?;
        // INVARIANT: They were accounted.
        self.accounted.fetch_add(pages as i64, Relaxed);
        Ok(())
    }

    /// Uses blocks that were accounted ahead, or accounts more.
    fn use_blocks(&self, pages: u64) -> Result {
        if self.unused.load(Relaxed) == 0 {
            return self.account(pages);
        }
        let pages = pages as i64;
        // INVARIANT: The caller inserts folios for these.
        if self.unused.fetch_sub(pages, Relaxed) < pages {
            self.unused.fetch_add(pages, Relaxed);
            return self.account(pages as u64);
        }
        Ok(())
    }

    /// Inserts folios, one after the other, where `run` says. Several tasks may do so at once.
    ///
    /// `ENOMEM` if the memory cgroup or the machine does not allow it, `ENOSPC` if the mount of
    /// shmem does not, `EEXIST` if there is a page already, `EINVAL` if the folios are not aligned,
    /// not within the file, or larger than the page cache can hold. Those that are not inserted are
    /// freed, and so are single pages after the end of the file: a large folio may have reached over
    /// it.
    ///
    /// # Context
    ///
    /// May sleep. Takes the lock of the inode.
    pub(crate) fn insert(&self, mut folios: ClaimedFolios<'_>, run: &FolioRun) -> Result {
        let order = folios.order();
        if order == Order::PAGE {
            folios.truncate(self.end.0.saturating_sub(run.index.0) as usize);
            if folios.len() == 0 {
                return Ok(());
            }
        }
        let pages = order.pages() * folios.len() as u64;
        let last = run.index.after(pages.saturating_sub(order.pages()));
        // SAFETY: It can be called in any context.
        let max_order = unsafe { bindings::lu_max_folio_order() };
        if pages == 0
            || u32::from(order.get()) > max_order
            || !run.index.is_aligned(order)
            || last >= self.end
        {
            return Err(EINVAL);
        }
        self.use_blocks(pages)?;
        let memcg = self
            .memcg
            .as_ref()
            .map_or(null_mut(), |memcg| memcg.as_ptr());
        let mut err = 0;
        // SAFETY: By the type invariant nobody else can reach the memfd of the inode, whose size is set.
        // Its blocks were accounted above, and `drop` calls `shmem_recalc_inode()`. We own a reference to
        // the memory cgroup, or it is null. `ClaimedFolios` has `len` folios of `order`, and the only
        // reference to each. Their order, alignment and end were checked. `err` can be written.
        let inserted = unsafe {
            bindings::lu_insert_folios(
                self.inode(),
                memcg,
                folios.as_mut_ptr(),
                folios.len() as u32,
                run.index.0 as usize,
                run.flags & FOLIO_UPTODATE != 0,
                &mut err,
            )
        };
        // SAFETY: The references to those belong to the file.
        unsafe { folios.forget(inserted as usize) };
        to_result(err)
    }

    /// The file, with all that was inserted.
    pub(crate) fn finish(self) -> ARef<File> {
        self.file.clone()
    }
}

impl Drop for MemfdBuilder {
    fn drop(&mut self) {
        let accounted = self.accounted.load(Relaxed) as isize;
        // SAFETY: By the type invariant the inode is one of shmem, to which blocks for that many pages
        // were accounted. This gives back those of pages that were not inserted.
        unsafe { bindings::shmem_recalc_inode(self.inode(), accounted, 0) };
    }
}
