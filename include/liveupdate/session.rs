// SPDX-License-Identifier: GPL-2.0-only

//! The session of a file, for handlers that do not ask for it.
//!
//! Only `liveupdate.ko` tells handlers of other modules which session a file belongs to, and a module
//! that asks it does not load on another orchestrator. So handlers that include these files do not
//! know, unless their Kbuild has `liveupdate-sessions := y`: then `session_ext.rs` is used in place of
//! this file. Here every question is answered with `EOPNOTSUPP`.

use core::marker::PhantomData;

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    bindings::liveupdate_file_op_args,
    registration::eopnotsupp,
    IncomingFiles,
    OutgoingFiles, //
};

/// A session of which nothing is known.
pub(super) struct Session<'a>(PhantomData<&'a ()>);

impl Session<'_> {
    /// The session of the file that a callback is called for.
    ///
    /// # Safety
    ///
    /// There are no requirements. The function is unsafe because that of `session_ext.rs` is.
    pub(super) unsafe fn of(_args: *const liveupdate_file_op_args) -> Self {
        Self(PhantomData)
    }
}

impl OutgoingFiles for Session<'_> {
    fn token_of(&self, _file: &File) -> Result<u64> {
        Err(eopnotsupp())
    }
}

impl IncomingFiles for Session<'_> {
    fn retrieve(&self, _token: u64) -> Result<ARef<File>> {
        Err(eopnotsupp())
    }
}
