// SPDX-License-Identifier: GPL-2.0-only

//! Kinds of files that can cross a live update.
//!
//! A kind of file has a handler, a value whose type implements [`FileHandler`]; `HANDLERS` lists
//! them all. The orchestrator (`session/`) knows no kind of file: it finds the handler of a file
//! once, when the file is preserved or when its entry is read in the next kernel, and calls the
//! handler from then on.
//!
//! # What a handler does, in the order in which it is called
//!
//! ```text
//!   old kernel                                     new kernel
//!
//!   identify     is the file of this kind?         compatible   which handler wrote it?
//!      │                                              │
//!   preserve     all that can fail                    ├──► retrieve    a file again
//!      │                                              │       │
//!   data         64 bits for the entry                │    identify
//!      │                                              │
//!   freeze       what changes until the end           └──► discard     free the memory
//!      │
//!   (kexec) ─────── KHO memory ────────────────────────►
//!
//!   drop         unpreserve: only if no kexec comes
//! ```
//!
//! 1. [`FileHandler::identify`] tells whether the handler preserves a file, and what distinguishes
//!    the file from all others that any handler preserves, such as the address of its inode: two
//!    open files with the same number are one file. It
//!    is called for every file that any user wants to preserve, so it only looks.
//! 2. [`FileHandler::preserve`] makes the file survive and stay usable: it pins memory, gives it to
//!    KHO and forbids what could take it away. Whatever can fail must be tried here, as long as the
//!    user can still do something about it. What it returns is kept as long as the file is
//!    preserved.
//! 3. [`PreservedFile::data`] is called once, and tells 64 bits that cross; for all handlers so
//!    far, the physical address of a preserved page whose layout `abi/` describes.
//! 4. [`PreservedFile::freeze`] is called when a kexec is entered: once for each attempt, and an
//!    attempt can end without a kexec. An error refuses the kexec. It may only fail for a reason
//!    that `preserve` could not know.
//! 5. Dropping the [`PreservedFile`] unpreserves the file. It happens when the session is closed,
//!    frozen before or not, and leaves the file as if it had not been preserved.
//! 6. In the next kernel, [`FileHandler::compatible`] tells whether the handler wrote an entry.
//!    Then either [`FileHandler::retrieve`] makes a file, or [`FileHandler::discard`] frees the
//!    memory, and neither is called again for that entry, whatever it answered. Both must expect
//!    arbitrary `data`, and arbitrary memory where it leads to: see [`Handover`].
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

mod memfd;
#[cfg(liveupdate_test)]
mod test;

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    abi::{
        luo::until_nul,
        pieces::Pieces,
        Damage, //
    },
    kapi::{
        error::eopnotsupp,
        handover::Handover,
        kho::Kho, //
    }, //
};

/// The handlers. The first that identifies a file preserves it.
const HANDLERS: &[Handler] = &[
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
    fn compatible(&self) -> &'static str;

    /// The number that distinguishes a file from all others that any handler preserves, if this
    /// handler preserves such files.
    ///
    /// # Context
    ///
    /// Process context. Must not sleep for long: it is called for files of all kinds.
    fn identify(&self, file: &File) -> Option<usize>;

    /// Preserves a file that [`FileHandler::identify`] has accepted. After an error, the file is as
    /// before.
    ///
    /// # Context
    ///
    /// Process context of the user that preserves the file; may sleep, and be charged.
    fn preserve(&self, kho: Kho, file: ARef<File>) -> Result<KBox<Self::Preserved>>;

    /// Makes a file of what `data` describes. In any case, no memory of it is left to be discarded.
    ///
    /// # Context
    ///
    /// Process context of the user that retrieves the file; may sleep, and be charged.
    fn retrieve(&self, handover: &Handover, data: u64) -> Result<ARef<File>, Failure>;

    /// Frees what `data` describes.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn discard(&self, handover: &Handover, data: u64) -> Result<(), Damage>;

    /// Whether a session can be finished before its file of this handler was retrieved. If not,
    /// finishing fails with `EBUSY`.
    fn can_finish_pending(&self) -> bool {
        true
    }
}

/// A file that is preserved. Dropping it unpreserves the file.
pub(crate) trait PreservedFile: Send + 'static {
    /// What the next kernel is told about the file: the argument of [`FileHandler::retrieve`] and
    /// [`FileHandler::discard`].
    fn data(&self) -> u64;

    /// Adds all memory with which the file crosses to what is counted in `pieces`. Called once, after
    /// the file was preserved.
    fn count_in(&self, pieces: &mut Pieces);

    /// Writes what may have changed since the file was preserved. Counts only for the current
    /// attempt to enter a kexec. Adds to `pieces` what was preserved meanwhile, also if it fails.
    ///
    /// # Context
    ///
    /// Process context of the task that called `reboot(2)`; may sleep, but everything waits for it.
    fn freeze(&mut self, pieces: &mut Pieces) -> Result;
}

/// A handler, found once for each file.
pub(crate) type Handler = &'static dyn AnyHandler;

/// [`FileHandler`] without the associated type, so that handlers of all kinds fit in one list.
pub(crate) trait AnyHandler: Send + Sync {
    /// See [`FileHandler::compatible`].
    fn compatible(&self) -> &'static str;
    /// See [`FileHandler::identify`].
    fn identify(&self, file: &File) -> Option<usize>;
    /// See [`FileHandler::preserve`].
    fn preserve(&self, kho: Kho, file: ARef<File>) -> Result<KBox<dyn PreservedFile>>;
    /// See [`FileHandler::retrieve`].
    fn retrieve(&self, handover: &Handover, data: u64) -> Result<ARef<File>, Failure>;
    /// See [`FileHandler::discard`].
    fn discard(&self, handover: &Handover, data: u64) -> Result<(), Damage>;
    /// See [`FileHandler::can_finish_pending`].
    fn can_finish_pending(&self) -> bool;
}

impl<H: FileHandler> AnyHandler for H {
    fn compatible(&self) -> &'static str {
        FileHandler::compatible(self)
    }

    fn identify(&self, file: &File) -> Option<usize> {
        FileHandler::identify(self, file)
    }

    fn preserve(&self, kho: Kho, file: ARef<File>) -> Result<KBox<dyn PreservedFile>> {
        Ok(FileHandler::preserve(self, kho, file)?)
    }

    fn retrieve(&self, handover: &Handover, data: u64) -> Result<ARef<File>, Failure> {
        FileHandler::retrieve(self, handover, data)
    }

    fn discard(&self, handover: &Handover, data: u64) -> Result<(), Damage> {
        FileHandler::discard(self, handover, data)
    }

    fn can_finish_pending(&self) -> bool {
        FileHandler::can_finish_pending(self)
    }
}

/// The handler that wrote an entry of the previous kernel. What follows the first NUL of the field
/// is ignored, as in C.
pub(crate) fn find(compatible: &[u8; 48]) -> Option<Handler> {
    let name = until_nul(compatible)?;
    let mut handlers = HANDLERS.iter().copied();
    handlers.find(|handler| handler.compatible().as_bytes() == name)
}

/// The handler of a file, and the number of the file.
pub(crate) fn identify(file: &File) -> Option<(Handler, usize)> {
    let mut handlers = HANDLERS.iter().copied();
    handlers.find_map(|handler| Some((handler, handler.identify(file)?)))
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
        for handler in HANDLERS {
            let field = padded(handler.compatible());
            let found = find(&field).ok_or(ENOENT)?;
            assert_eq!(found.compatible(), handler.compatible());
        }
        Ok(())
    }

    #[test]
    fn nothing_counts_after_the_nul() -> Result {
        let handler = HANDLERS.first().ok_or(ENOENT)?;
        let len = handler.compatible().len();
        let mut field = padded(handler.compatible());
        for byte in field.iter_mut().skip(len + 1) {
            *byte = b'x';
        }
        assert!(find(&field).is_some());
        // Without the NUL it is another name.
        for byte in field.iter_mut().skip(len).take(1) {
            *byte = b'x';
        }
        assert!(find(&field).is_none());
        assert!(find(&[0; 48]).is_none());
        Ok(())
    }
}
