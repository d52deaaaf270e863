// SPDX-License-Identifier: GPL-2.0-only

//! Kinds of files that can cross a live update.
//!
//! A kind of file has a handler, a value whose type implements [`FileHandler`]. `BUILT_IN` lists
//! those of this module; other modules register theirs ([`registry`]), whose [`callbacks`] an adapter
//! turns into the same trait, and whose files can depend on other objects ([`foreign`], [`flb`]). The orchestrator (`session/`) knows no kind of file: it finds the
//! handler of a file once, when the file is preserved or when somebody needs it in the next kernel,
//! and calls the handler from then on.
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
//! 3. [`PreservedFile::data`] tells 64 bits that cross; for the handlers of this module, the physical
//!    address of a preserved page whose layout `abi/` describes.
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
//!   needs. `session.rs` describes the locks: those of the orchestrator that are held are 1, and
//!   during `freeze` 2 and 3.
//! - Calls for one file follow one after the other; calls for different files may be concurrent.
//! - No two sessions have files of the same number at a time. A file that was retrieved counts
//!   until its session is finished.
//! - The open file exists as long as it is preserved.
//! - Nothing else runs in the orchestrator during `freeze`. Users of the file itself, other tasks
//!   and hardware, go on until the kernel stops them.

mod callbacks;
pub(crate) mod flb;
mod foreign;
pub(crate) mod listing;
mod memfd;
pub(crate) mod registry;
#[cfg(liveupdate_test)]
mod test;

use core::ops::Deref;

use kernel::{
    ffi::c_int,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use self::foreign::ForeignHandler;
use crate::{
    abi::{
        luo::until_nul,
        pieces::Pieces,
        Damage, //
    },
    kapi::{
        error::eopnotsupp,
        handover::Handover,
        kho::Kho,
        module::OtherModule,
        session_ref::{
            IncomingFiles,
            OutgoingFiles, //
        }, //
    }, //
};

/// The handlers of this module. The first that accepts a file preserves it.
const BUILT_IN: &[&dyn AnyHandler] = &[
    &memfd::MemfdHandler,
    #[cfg(liveupdate_test)]
    &test::DevFullHandler,
];

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
    /// one that [`FileHandler::accepts`], or that [`FileHandler::retrieve`] has made.
    ///
    /// # Context
    ///
    /// Process context.
    fn id(&self, file: &File) -> usize;

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
    /// Process context; may sleep. The lock of the files of the session is held.
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

impl<'a> Outcome<'a> {
    /// `retrieve_status` and `file` of `struct liveupdate_file_op_args`.
    fn as_c(self) -> (c_int, Option<&'a File>) {
        match self {
            Self::Pending => (0, None),
            Self::Retrieved(file) => (1, Some(file)),
            Self::Failed(err) => (err.to_errno(), None),
        }
    }
}

/// A file that is preserved. Dropping it unpreserves the file.
pub(crate) trait PreservedFile: Send + 'static {
    /// What the next kernel is told about the file: the argument of [`FileHandler::retrieve`] and
    /// [`FileHandler::finish`].
    fn data(&self) -> u64;

    /// Adds all memory with which the file crosses to what is counted in `pieces`. Called once, after
    /// the file was preserved.
    fn count_in(&self, pieces: &mut Pieces);

    /// The pages of content that are preserved, without those that describe them. A handler that does
    /// not know says 0.
    fn pages(&self) -> u64 {
        0
    }

    /// Writes what may have changed since the file was preserved. Counts only for the current
    /// attempt to enter a kexec. Adds to `pieces` what was preserved meanwhile, also if it fails.
    /// `session` has all its files but this one.
    ///
    /// # Context
    ///
    /// Process context of the task that called `reboot(2)`; may sleep, but everything waits for it.
    fn freeze(&mut self, pieces: &mut Pieces, session: &dyn OutgoingFiles) -> Result;

    /// The attempt for which the file was frozen has ended without a kexec.
    ///
    /// # Context
    ///
    /// As [`PreservedFile::freeze`].
    fn unfreeze(&mut self) {}
}

/// A handler that a file uses, found once for the file. The module that has it stays loaded.
#[derive(Clone)]
pub(crate) enum Handler {
    /// One of this module.
    BuiltIn(&'static dyn AnyHandler),
    /// One of another module.
    Foreign {
        handler: Arc<ForeignHandler>,
        _module: OtherModule,
    },
}

impl Deref for Handler {
    type Target = dyn AnyHandler;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::BuiltIn(handler) => *handler,
            Self::Foreign { handler, .. } => &**handler,
        }
    }
}

/// [`FileHandler`] without the associated type, so that handlers of all kinds fit in one list.
pub(crate) trait AnyHandler: Send + Sync {
    /// See [`FileHandler::compatible`].
    fn compatible(&self) -> &str;
    /// See [`FileHandler::accepts`].
    fn accepts(&self, file: &File) -> bool;
    /// See [`FileHandler::id`].
    fn id(&self, file: &File) -> usize;
    /// See [`FileHandler::preserve`].
    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        session: &dyn OutgoingFiles,
    ) -> Result<KBox<dyn PreservedFile>>;
    /// See [`FileHandler::retrieve`].
    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure>;
    /// See [`FileHandler::can_finish`].
    fn can_finish(&self, data: u64, outcome: Outcome<'_>) -> bool;
    /// See [`FileHandler::finish`].
    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage>;
}

impl<H: FileHandler> AnyHandler for H {
    fn compatible(&self) -> &str {
        FileHandler::compatible(self)
    }

    fn accepts(&self, file: &File) -> bool {
        FileHandler::accepts(self, file)
    }

    fn id(&self, file: &File) -> usize {
        FileHandler::id(self, file)
    }

    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        session: &dyn OutgoingFiles,
    ) -> Result<KBox<dyn PreservedFile>> {
        Ok(FileHandler::preserve(self, kho, file, session)?)
    }

    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        FileHandler::retrieve(self, handover, data, session)
    }

    fn can_finish(&self, data: u64, outcome: Outcome<'_>) -> bool {
        FileHandler::can_finish(self, data, outcome)
    }

    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        FileHandler::finish(self, handover, data, outcome)
    }
}

/// The handler of this module that wrote an entry of the previous kernel. What follows the first NUL
/// of the field is ignored, as in C.
fn find_built_in(compatible: &[u8; 48]) -> Option<&'static dyn AnyHandler> {
    let name = until_nul(compatible)?;
    let mut handlers = BUILT_IN.iter().copied();
    handlers.find(|handler| handler.compatible().as_bytes() == name)
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

impl Failure {
    /// The error that the user gets: `EOPNOTSUPP` for what another version may know, `EIO` for
    /// damage.
    pub(crate) fn errno(&self) -> Error {
        match self {
            Self::Damaged(Damage::Handler { .. } | Damage::Seals { .. } | Damage::Flags { .. }) => {
                eopnotsupp()
            }
            Self::Damaged(_) => EIO,
            Self::Error(err) => *err,
        }
    }
}

#[kunit_tests(liveupdate_handlers)]
mod tests {
    use super::*;
    use crate::abi::luo::padded;

    #[test]
    fn found_by_the_name_they_write() -> Result {
        for handler in BUILT_IN {
            let field = padded(handler.compatible());
            let found = find_built_in(&field).ok_or(ENOENT)?;
            assert_eq!(found.compatible(), handler.compatible());
        }
        Ok(())
    }

    #[test]
    fn nothing_counts_after_the_nul() -> Result {
        let handler = BUILT_IN.first().ok_or(ENOENT)?;
        let len = handler.compatible().len();
        let mut field = padded(handler.compatible());
        for byte in field.iter_mut().skip(len + 1) {
            *byte = b'x';
        }
        assert!(find_built_in(&field).is_some());
        // Without the NUL it is another name.
        for byte in field.iter_mut().skip(len).take(1) {
            *byte = b'x';
        }
        assert!(find_built_in(&field).is_none());
        assert!(find_built_in(&[0; 48]).is_none());
        Ok(())
    }
}
