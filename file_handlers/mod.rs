// SPDX-License-Identifier: GPL-2.0-only

//! Kinds of files that can cross a live update.
//!
//! A kind of file has a handler, a value whose type implements [`FileHandler`]. `BUILT_IN` lists
//! those of this module; other modules register theirs ([`registry`]). An adapter turns their
//! [`callbacks`] into the same trait, and their files can depend on other objects ([`foreign`],
//! [`flb`]). The orchestrator (`session/`) knows no kind of file: it finds the handler of a file once,
//! when the file is preserved or when somebody needs it in the next kernel, and calls the handler from
//! then on.
//!
//! The trait is in `include/liveupdate/handler.rs`, which also tells the life of a file. Modules that
//! have a handler in Rust include the same file. Handlers of this module also implement
//! [`CountedFile`], for what the log says about memory.

#[path = "../include/liveupdate/handler.rs"]
mod api;
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

pub(crate) use self::api::{
    Failure,
    FileHandler,
    Outcome,
    PreservedFile, //
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
        session_files::{
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

/// A preserved file, and in how many pieces of memory it crosses.
pub(crate) trait CountedFile: PreservedFile {
    /// Adds all memory with which the file crosses to what is counted in `pieces`. Called once, after
    /// the file was preserved.
    fn count_in(&self, pieces: &mut Pieces);

    /// The pages of content that are preserved, without those that describe them. A handler that does
    /// not know says 0.
    fn pages(&self) -> u64 {
        0
    }

    /// [`PreservedFile::freeze`], and adds to `added` what was preserved meanwhile, also after an
    /// error. Returns [`PreservedFile::data`].
    fn freeze_counted(&mut self, session: &dyn OutgoingFiles, _added: &mut Added) -> Result<u64> {
        self.freeze(session)?;
        Ok(self.data())
    }
}

/// Memory that was preserved for files when they were frozen.
#[derive(Default)]
pub(crate) struct Added {
    /// Pages of content.
    pub(crate) pages: u64,
    pub(crate) pieces: u64,
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

impl Handler {
    /// Whether another module has it.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }
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
    ) -> Result<KBox<dyn CountedFile>>;
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

impl<H: FileHandler<Preserved: CountedFile>> AnyHandler for H {
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
    ) -> Result<KBox<dyn CountedFile>> {
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
