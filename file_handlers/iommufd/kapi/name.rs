// SPDX-License-Identifier: GPL-2.0-only

//! The name of a file, for the log.

use kernel::{
    fmt,
    fs::File, //
};

use super::bindings;

/// How many bytes of a name are shown.
const MAX_NAME: usize = 64;

/// The last component of the name of a file, cut off after 64 bytes. It is shown escaped: users choose
/// it.
pub(crate) struct FileName {
    name: [u8; MAX_NAME],
    len: usize,
}

impl FileName {
    /// The name that a file has now.
    ///
    /// # Context
    ///
    /// Process context.
    pub(crate) fn of(file: &File) -> Self {
        let mut name = [0; MAX_NAME];
        // SAFETY: The file is open, and `name` has `MAX_NAME` bytes.
        let len =
            unsafe { bindings::lu_file_name(file.as_ptr(), name.as_mut_ptr().cast(), MAX_NAME) };
        Self { name, len }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.get(..self.len).unwrap_or_default();
        core::fmt::Display::fmt(&name.escape_ascii(), f)
    }
}
