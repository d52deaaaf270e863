// SPDX-License-Identifier: GPL-2.0-only

//! The trait that handlers implement: how files of one kind cross a live update.
//!
//! Two crates include this file: `liveupdate.ko` for its own handlers, and every module that has a
//! handler in Rust. Each of them brings its own [`Kho`], [`Handover`] and [`Damage`].
//!
//! # What a handler does, in the order in which it is called
//!
//! ```text
//!   old kernel                                     new kernel
//!
//!   accepts      is the file of this kind?         compatible   which handler wrote it?
//!   id           which file is it?                    │
//!      │                                              ├──► retrieve    a file again
//!   preserve     all that can fail                    │       │
//!      │                                              │      id
//!   data         64 bits for the entry                │       │
//!      │                                              ▼       ▼
//!   freeze       what changes until the end        can_finish   is the user done with it?
//!      │  └──► unfreeze   no kexec comes              │
//!      │                                           finish       free what is left
//!   (kexec) ─────── KHO memory ────────────────────────►
//!
//!   drop         unpreserve: only if no kexec comes
//! ```
//!
//! 1. [`FileHandler::accepts`] tells whether the handler preserves a file. It is called for every
//!    file that any user wants to preserve, so it only looks. [`FileHandler::id`] tells what
//!    distinguishes the file from all others that any handler preserves, such as the address of its
//!    inode: two open files with the same number are one file.
//! 2. [`FileHandler::preserve`] makes the file survive and stay usable: it pins memory, gives it to
//!    KHO and forbids what could take it away. Whatever can fail must be tried here, as long as the
//!    user can still do something about it. What it returns is kept as long as the file is
//!    preserved.
//! 3. [`PreservedFile::data`] tells 64 bits that cross, such as the physical address of a preserved
//!    page.
//! 4. [`PreservedFile::freeze`] is called when a kexec is entered: once for each attempt, in the
//!    order in which the files of a session were preserved. An error refuses the kexec. It may only
//!    fail for a reason that `preserve` could not know. What [`PreservedFile::data`] says afterwards
//!    is what crosses. If no kexec comes, [`PreservedFile::unfreeze`] is called, the last file first.
//! 5. Dropping the [`PreservedFile`] unpreserves the file. It happens when the session is closed, the
//!    last file first, and leaves the file as if it had not been preserved.
//! 6. In the next kernel, [`FileHandler::compatible`] tells whether the handler wrote an entry.
//!    [`FileHandler::retrieve`] makes a file. It is called at most once for an entry, whatever it
//!    answers.
//! 7. When the user finishes the session, [`FileHandler::can_finish`] is asked for each file. If all
//!    agree, [`FileHandler::finish`] is called once for each, the last file first, and told what has
//!    become of it.
//!
//! `retrieve` and `finish` must expect arbitrary `data`, and arbitrary memory where it leads to: see
//! [`Handover`].
//!
//! # What a handler may rely on
//!
//! - All calls are made in process context and may sleep, without a lock that another handler
//!   needs. `docs/handlers.md` lists the locks of the orchestrator that are held.
//! - Calls for one file follow one after the other; calls for different files may be concurrent.
//! - No two sessions have files of the same number at a time. A file that was retrieved counts
//!   until its session is finished.
//! - The open file exists as long as it is preserved.
//! - Nothing else runs in the orchestrator during `freeze`. Users of the file itself, other tasks
//!   and hardware, go on until the kernel stops them.

use kernel::{
    alloc::AllocError,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    Damage,
    Handover,
    IncomingFiles,
    Kho,
    OutgoingFiles, //
};

/// A kind of file that can cross a live update. The module documentation tells the order of the
/// calls.
pub(crate) trait FileHandler: Send + Sync + 'static {
    /// What is kept as long as a file is preserved.
    type Preserved: PreservedFile;

    /// The name and version of what the handler writes: 1 to 47 bytes, none of them NUL.
    fn compatible(&self) -> &str;

    /// Whether this handler preserves such files.
    ///
    /// # Context
    ///
    /// Process context. Must not sleep for long: it is called for files of all kinds.
    fn accepts(&self, file: &File) -> bool;

    /// The number that distinguishes a file from all others that any handler preserves. The file is
    /// one that [`FileHandler::accepts`], or that [`FileHandler::retrieve`] has made. By default,
    /// every open file is a file of its own.
    ///
    /// # Context
    ///
    /// Process context. Must not allocate or wait.
    fn id(&self, file: &File) -> usize {
        file.as_ptr() as usize
    }

    /// Preserves a file that [`FileHandler::accepts`]. After an error, the file is as
    /// before. `session` has the files that were preserved before, which this one may need.
    ///
    /// # Context
    ///
    /// Process context of the user that preserves the file; may sleep, and be charged.
    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        session: &dyn OutgoingFiles,
    ) -> Result<KBox<Self::Preserved>>;

    /// Makes a file of what `data` describes. `session` has the files that it may need.
    ///
    /// # Context
    ///
    /// Process context of the user that retrieves the file; may sleep, and be charged.
    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure>;

    /// Whether a session can be finished as far as this file is concerned. If not, finishing fails
    /// with `EBUSY`.
    ///
    /// # Context
    ///
    /// Process context; may sleep, but calls for other files of the session wait.
    fn can_finish(&self, _data: u64, _outcome: Outcome<'_>) -> bool {
        true
    }

    /// Frees what is left of what `data` describes.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage>;
}

/// What has become of a file of the previous kernel when its session is finished.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// Nobody has asked for it.
    Pending,
    /// It is a file of this kernel.
    Retrieved(&'a File),
    /// [`FileHandler::retrieve`] has failed with this error.
    Failed(Error),
}

/// A file that is preserved. Dropping it unpreserves the file.
pub(crate) trait PreservedFile: Send + 'static {
    /// What the next kernel is told about the file: the argument of [`FileHandler::retrieve`] and
    /// [`FileHandler::finish`].
    fn data(&self) -> u64;

    /// Writes what may have changed since the file was preserved. Counts only for the current
    /// attempt to enter a kexec. By default there is nothing to write. `session` has all its files but
    /// this one.
    ///
    /// # Context
    ///
    /// Process context of the task that called `reboot(2)`; may sleep, but everything waits for it.
    fn freeze(&mut self, _session: &dyn OutgoingFiles) -> Result {
        Ok(())
    }

    /// The attempt for which the file was frozen has ended without a kexec.
    ///
    /// # Context
    ///
    /// As [`PreservedFile::freeze`].
    fn unfreeze(&mut self) {}
}

/// Why there is no file for an entry of the previous kernel.
pub(crate) enum Failure {
    /// What the entry leads to is damaged, or of another version.
    Damaged(Damage),
    /// This kernel could not make the file.
    Error(Error),
}

impl From<Damage> for Failure {
    fn from(why: Damage) -> Self {
        Self::Damaged(why)
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Error(err)
    }
}

impl From<AllocError> for Failure {
    fn from(err: AllocError) -> Self {
        Self::Error(err.into())
    }
}
