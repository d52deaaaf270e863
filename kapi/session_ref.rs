// SPDX-License-Identifier: GPL-2.0-only

//! `struct liveupdate_session`: a session, as a callback for one of its files sees it.
//!
//! The kernel's header declares the name only. Linux 7.4 passes such a pointer to the callbacks; here,
//! functions of `include/liveupdate_ext.h` get it from their arguments.

use core::ptr::{
    from_ref,
    null_mut, //
};

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    bindings::{
        liveupdate_file_op_args,
        liveupdate_session, //
    },
    session_files::{
        IncomingFiles,
        OutgoingFiles, //
    }, //
};

/// The session of the file that a callback is called for.
#[derive(Clone, Copy)]
pub(super) enum SessionRef<'a> {
    /// The callback has no use for it.
    None,
    Outgoing(&'a dyn OutgoingFiles),
    Incoming(&'a dyn IncomingFiles),
}

/// The arguments of a callback. A callback knows the first field only; the functions that it may call
/// find the second.
#[repr(C)]
pub(super) struct Args<'a> {
    pub(super) c: liveupdate_file_op_args,
    session: SessionRef<'a>,
}

impl<'a> Args<'a> {
    pub(super) fn new(c: liveupdate_file_op_args, session: SessionRef<'a>) -> Self {
        Self { c, session }
    }

    /// What a callback gets.
    pub(super) fn as_mut_ptr(&mut self) -> *mut liveupdate_file_op_args {
        core::ptr::from_mut(self).cast()
    }

    /// The session, for code of another module; null if there is none.
    ///
    /// # Safety
    ///
    /// `args` comes from [`Args::as_mut_ptr`], and the callback that got it has not returned.
    pub(super) unsafe fn session_of(
        args: *const liveupdate_file_op_args,
    ) -> *mut liveupdate_session {
        // SAFETY: By the requirements of this function, these are the arguments that `Args` begins
        // with, and they exist.
        match unsafe { &(*args.cast::<Args<'_>>()).session } {
            SessionRef::None => null_mut(),
            session => from_ref(session).cast_mut().cast(),
        }
    }
}

impl SessionRef<'_> {
    /// The session to which a pointer of [`Args::session_of`] leads.
    ///
    /// # Safety
    ///
    /// `session` is null or comes from [`Args::session_of`], and that callback has not returned.
    unsafe fn of<'a>(session: *mut liveupdate_session) -> SessionRef<'a> {
        // SAFETY: By the requirements of this function it is null, or points to a `SessionRef` that
        // exists.
        let session = unsafe { session.cast::<SessionRef<'a>>().as_ref() };
        session.copied().unwrap_or(SessionRef::None)
    }

    /// `liveupdate_get_token_outgoing()`. `EINVAL` if this is no outgoing session.
    ///
    /// # Safety
    ///
    /// As [`SessionRef::of`].
    pub(super) unsafe fn token_of(session: *mut liveupdate_session, file: &File) -> Result<u64> {
        // SAFETY: By the requirements of this function.
        match unsafe { Self::of(session) } {
            SessionRef::Outgoing(files) => files.token_of(file),
            _ => Err(EINVAL),
        }
    }

    /// `liveupdate_get_file_incoming()`. `EINVAL` if this is no incoming session.
    ///
    /// # Safety
    ///
    /// As [`SessionRef::of`].
    pub(super) unsafe fn retrieve(
        session: *mut liveupdate_session,
        token: u64,
    ) -> Result<ARef<File>> {
        // SAFETY: By the requirements of this function.
        match unsafe { Self::of(session) } {
            SessionRef::Incoming(files) => files.retrieve(token),
            _ => Err(EINVAL),
        }
    }
}
