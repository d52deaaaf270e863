// SPDX-License-Identifier: GPL-2.0-only

//! A handler for tests, which a shipped module does not have: open files of `/dev/full`.
//!
//! It refuses to be frozen (`EBUSY`) as long as the open file has `O_NONBLOCK` set. It cannot be
//! retrieved (`ENODEV`), and a session cannot be finished before that was tried.

use kernel::{
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    prelude::*,
    sync::aref::ARef, //
};

use super::Failure;
use crate::{
    abi::{
        Damage, //
        PhysAddr,
    },
    kapi::{
        chrdev,
        handover::Handover,
        kho::{
            Charge,
            Kho,
            PreservedPage, //
        }, //
    }, //
};

/// The name of what this handler writes.
pub(crate) const COMPATIBLE: &str = "test-full-v1";

/// The device number of `/dev/full`: 1:7.
const DEV_FULL: u32 = (1 << 20) | 7;

/// Every open file is a file of its own.
pub(crate) fn identify(file: &File) -> Option<usize> {
    (chrdev::number(file) == Some(DEV_FULL)).then_some(file.as_ptr() as usize)
}

/// An open `/dev/full` on its way out.
pub(crate) struct Preserved {
    file: ARef<File>,
    page: PreservedPage,
}

impl Preserved {
    /// Preserves nothing but an empty page.
    pub(crate) fn preserve(kho: Kho, file: ARef<File>) -> Result<Self> {
        Ok(Self {
            file,
            page: PreservedPage::new(kho, Charge::Caller)?,
        })
    }

    /// What the next kernel is told.
    pub(crate) fn data(&self) -> PhysAddr {
        self.page.addr()
    }

    /// `EBUSY` while `O_NONBLOCK` is set.
    pub(crate) fn freeze(&mut self) -> Result {
        if self.file.flags() & O_NONBLOCK != 0 {
            return Err(EBUSY);
        }
        Ok(())
    }
}

/// Always fails.
pub(crate) fn retrieve(handover: &Handover, data: PhysAddr) -> Result<ARef<File>, Failure> {
    discard(handover, data)?;
    Err(ENODEV.into())
}

/// Frees the page.
pub(crate) fn discard(handover: &Handover, data: PhysAddr) -> Result<(), Damage> {
    handover.claim_pages(data, 0).map(drop)
}
