// SPDX-License-Identifier: GPL-2.0-only

//! Incoming sessions: made by the previous kernel, for this one.
//!
//! ```text
//!   registry.rs   Registry ── by name ──► FileList
//!                     ▲                     │  ▲
//!                     │    retrieve_session │  │ the answer cannot be copied out, or
//!                     │                     ▼  │ close before all files can be finished
//!   session.rs        └────────────────── Session ◄── open file of the user
//!                                           │
//!   files.rs                             FileSet ── by token ──► IncomingFile
//! ```
//!
//! Loading the module surveys the chain of sessions: it counts them, checks how long the chain is,
//! and claims nothing. The first open of the device reads the chain into the registry, and frees
//! its blocks. `retrieve_session` does the same with the chain of files of its session. A file is
//! claimed when it is retrieved or discarded. So the pages of what nobody asks for stay handed
//! over, and the time that a user waits depends on what that user asks for.
//!
//! The files of a session are in one place at a time: in the registry, or with the session while
//! its file is open.
//!
//! # The states of a file
//!
//! ```text
//!               retrieve_fd                         finish
//!   Pending ──────────────────► Retrieving ──► Retrieved ──► its user goes on with it
//!      │                            │
//!      │                            └────────► Failed(errno): the answer from then on
//!      └──────────────────────────────────────────────────► discarded: its memory is free
//! ```
//!
//! # When something fails
//!
//! - The chain of sessions is damaged: every open of the device fails with `EIO`. What was not read
//!   stays handed over, because it could belong to another user of KHO.
//! - The chain of files of a session is damaged: `retrieve_session` fails with `EIO` until the
//!   module is unloaded; other sessions are fine.
//! - A file is damaged, or this kernel cannot make it: `retrieve_fd` fails, with the same error
//!   from then on; other files are fine. The error is final because part of the file's memory has
//!   been claimed.
//! - There is no memory for a list: `ENOMEM`, nothing has changed, and the caller can try again.
//! - The copy-out of an answer fails: the session, or the file, can be retrieved again.
//! - The session is closed before it is finished: closing finishes it. If it cannot be finished yet
//!   (`EBUSY`), its files go back to the registry.

mod files;
mod registry;
mod session;
mod status;

pub(super) use self::{
    registry::Registry,
    session::retrieve, //
};
