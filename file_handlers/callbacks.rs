// SPDX-License-Identifier: GPL-2.0-only

//! The callbacks of another module: an adapter from `struct liveupdate_file_handler` to the trait
//! that all handlers implement.

use kernel::{
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    CountedFile,
    Failure,
    FileHandler,
    Outcome,
    PreservedFile, //
};
use crate::{
    abi::{
        pieces::Pieces,
        Damage, //
    },
    kapi::{
        file_handler,
        handover::Handover,
        kho::Kho,
        session_files::{
            IncomingFiles,
            OutgoingFiles, //
        }, //
    }, //
};

/// The callbacks of a handler.
pub(super) struct Callbacks(pub(super) Arc<file_handler::FileHandler>);

impl FileHandler for Callbacks {
    type Preserved = file_handler::PreservedFile;

    fn compatible(&self) -> &str {
        self.0.compatible()
    }

    fn accepts(&self, file: &File) -> bool {
        self.0.can_preserve(file)
    }

    fn id(&self, file: &File) -> usize {
        self.0.id(file)
    }

    fn preserve(
        &self,
        _kho: Kho,
        file: ARef<File>,
        session: &dyn OutgoingFiles,
    ) -> Result<KBox<file_handler::PreservedFile>> {
        let preserved = file_handler::PreservedFile::new(self.0.clone(), file, session)?;
        Ok(KBox::new(preserved, GFP_KERNEL)?)
    }

    fn retrieve(
        &self,
        _handover: &Handover,
        data: u64,
        session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        Ok(self.0.retrieve(data, session)?)
    }

    fn can_finish(&self, data: u64, outcome: Outcome<'_>) -> bool {
        let (status, file) = outcome.as_c();
        self.0.can_finish(data, status, file)
    }

    fn finish(&self, _handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        let (status, file) = outcome.as_c();
        if self.0.finish(data, status, file).is_err() {
            pr_err!(
                "handler {} is gone: a file is not finished\n",
                self.0.compatible()
            );
        }
        Ok(())
    }
}

impl PreservedFile for file_handler::PreservedFile {
    fn data(&self) -> u64 {
        self.data()
    }

    fn freeze(&mut self, session: &dyn OutgoingFiles) -> Result {
        self.freeze(session)
    }

    fn unfreeze(&mut self) {
        self.unfreeze();
    }
}

impl CountedFile for file_handler::PreservedFile {
    /// The handler gives memory to KHO itself, and does not say how much.
    fn count_in(&self, _pieces: &mut Pieces) {}
}
