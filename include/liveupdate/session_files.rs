// SPDX-License-Identifier: GPL-2.0-only

//! What a handler sees of the session of a file: the other files, which the file may need.
//!
//! Two crates include this file, as they do `handler.rs`.

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

/// The session of a file that is preserved or frozen.
pub(crate) trait OutgoingFiles {
    /// The token under which the session has a file. `ENOENT` if it has not.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    fn token_of(&self, file: &File) -> Result<u64>;
}

/// The session of a file that is retrieved.
pub(crate) trait IncomingFiles {
    /// The file of a token, which is retrieved unless it was. `ENOENT` if there is none, `ELOOP` if
    /// retrieving it needs the file whose callback asks, or if too many files need each other, and
    /// the errors of retrieving it.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    fn retrieve(&self, token: u64) -> Result<ARef<File>>;
}
