// SPDX-License-Identifier: GPL-2.0-only

//! The name of a session.

use core::fmt;

use kernel::{
    prelude::*,
    str::{
        BStr,
        CStr, //
    }, //
};

use crate::abi::luo::until_nul;

/// What stands before the name in `/proc/<pid>/fd`: programs recognise sessions by it.
const FILE_PREFIX: &[u8] = b"[luo_session] ";

/// A name that is neither empty nor longer than 63 bytes.
///
/// # Invariants
///
/// There is a byte that is not NUL at the start and a NUL behind the name, and nothing but NULs
/// from there on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name([u8; 64]);

impl Name {
    /// Checks what a user or the previous kernel wrote; bytes behind the first NUL are ignored.
    pub(super) fn new(field: &[u8; 64]) -> Option<Self> {
        let text = until_nul(field).filter(|text| !text.is_empty())?;
        let mut name = [0; 64];
        // INVARIANT: The text is not empty and at most 63 bytes long.
        for (to, from) in name.iter_mut().zip(text) {
            *to = *from;
        }
        Some(Self(name))
    }

    /// The name as it stands in structures.
    pub(super) fn as_field(&self) -> &[u8; 64] {
        &self.0
    }

    fn text(&self) -> &[u8] {
        until_nul(&self.0).unwrap_or_default()
    }

    /// The name of the file of the session.
    pub(super) fn file_name<'a>(&self, buffer: &'a mut [u8; 96]) -> Result<&'a CStr> {
        let text = Iterator::chain(FILE_PREFIX.iter(), self.text());
        for (to, from) in buffer.iter_mut().zip(text) {
            *to = *from;
        }
        CStr::from_bytes_until_nul(buffer).map_err(|_| EINVAL)
    }
}

/// Escapes what is not printable, so that a name cannot forge lines of the log or of fdinfo.
impl kernel::fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kernel::fmt::Display::fmt(BStr::from_bytes(self.text()), f)
    }
}
