// SPDX-License-Identifier: GPL-2.0-only

//! Outgoing sessions: made in this kernel, for the next one.
//!
//! ```text
//!   registry.rs   Registry ── by name ──┐
//!                     ▲                 ▼
//!   session.rs        └───────────── Session ◄── open file of the user
//!                                       │
//!   files.rs                         FileSet ── by token ──► PreservedFile
//! ```
//!
//! A session exists as long as its file is open. Closing the file removes the session from the
//! registry and unpreserves its files. A file that was in the session is as it was before, except
//! that the pages in it have been moved to where the next kernel does not boot, and that seals
//! stay.
//!
//! What the next kernel reads is kept up to date as files come and go: `preserve_fd` reserves the
//! block for the entry of its file and writes the entry. At `reboot(2)` only what may have changed
//! since is left to be written, by [`Registry::serialize`]: the parts of a file that a handler
//! writes when it freezes the file, and the list of sessions.
//!
//! # When something fails
//!
//! - `create_session`, `preserve_fd`: nothing has changed. What must be answered is reserved first,
//!   done, and committed after the last step that can fail.
//! - `reboot(2)`: a file that its handler cannot freeze refuses the kexec. The log names the file,
//!   and every session goes on as before; the next `reboot(2)` begins anew.

mod file;
mod files;
mod registry;
mod session;

pub(super) use self::session::{
    create,
    Registry, //
};
