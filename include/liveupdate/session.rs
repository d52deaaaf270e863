// SPDX-License-Identifier: GPL-2.0-only

//! The session of a file, for handlers of this crate.
//!
//! Only `liveupdate.ko` tells handlers of other modules which session a file belongs to, and a module
//! that asks it would not load on another orchestrator. So handlers that include these files do not
//! know: every question is answered with `EOPNOTSUPP`. `include/liveupdate_ext.h` is for handlers in C.

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    registration::eopnotsupp,
    IncomingFiles,
    OutgoingFiles, //
};

/// A session of which nothing is known.
pub(super) struct UnknownFiles;

impl OutgoingFiles for UnknownFiles {
    fn token_of(&self, _file: &File) -> Result<u64> {
        Err(eopnotsupp())
    }
}

impl IncomingFiles for UnknownFiles {
    fn retrieve(&self, _token: u64) -> Result<ARef<File>> {
        Err(eopnotsupp())
    }
}
