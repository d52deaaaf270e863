// SPDX-License-Identifier: GPL-2.0-only

//! A handler for tests, which a shipped module does not have: open files of `/dev/full`. It is also
//! the smallest example of a handler.
//!
//! It cannot freeze (`EBUSY`) an open file that has `O_NONBLOCK` set. It cannot retrieve a file
//! (`ENODEV`), and a session cannot be finished before somebody has tried that.

use kernel::{
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    prelude::*,
    sync::aref::ARef, //
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
        Damage,
        PhysAddr, //
    },
    kapi::{
        chrdev,
        handover::Handover,
        kho::{
            Charge,
            Kho,
            PreservedPage, //
        }, //
        session_files::{
            IncomingFiles,
            OutgoingFiles, //
        }, //
    }, //
};

/// The device number of `/dev/full`: 1:7.
const DEV_FULL: u32 = (1 << 20) | 7;

/// The handler.
pub(super) struct DevFullHandler;

impl FileHandler for DevFullHandler {
    type Preserved = DevFull;

    fn compatible(&self) -> &str {
        "test-full-v1"
    }

    fn accepts(&self, file: &File) -> bool {
        chrdev::number(file) == Some(DEV_FULL)
    }

    /// Preserves nothing but a page without content.
    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        _session: &dyn OutgoingFiles,
    ) -> Result<KBox<DevFull>> {
        let page = PreservedPage::new(kho, Charge::Caller)?;
        Ok(KBox::new(DevFull { file, page }, GFP_KERNEL)?)
    }

    fn retrieve(
        &self,
        _handover: &Handover,
        _data: u64,
        _session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        Err(ENODEV.into())
    }

    fn can_finish(&self, _data: u64, outcome: Outcome<'_>) -> bool {
        !matches!(outcome, Outcome::Pending)
    }

    fn finish(&self, handover: &Handover, data: u64, _outcome: Outcome<'_>) -> Result<(), Damage> {
        handover.claim_pages(PhysAddr(data), 0).map(drop)
    }
}

/// An open `/dev/full` that is preserved.
pub(super) struct DevFull {
    file: ARef<File>,
    page: PreservedPage,
}

impl PreservedFile for DevFull {
    fn data(&self) -> u64 {
        self.page.addr().0
    }

    fn freeze(&mut self, _session: &dyn OutgoingFiles) -> Result {
        if self.file.flags() & O_NONBLOCK != 0 {
            return Err(EBUSY);
        }
        Ok(())
    }
}

impl CountedFile for DevFull {
    fn count_in(&self, pieces: &mut Pieces) {
        self.page.count_in(pieces);
    }
}
