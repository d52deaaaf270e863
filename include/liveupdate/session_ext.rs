// SPDX-License-Identifier: GPL-2.0-only

//! The session of a file, for handlers that ask for it: `liveupdate-sessions := y` in their Kbuild.
//!
//! The functions are those of `liveupdate.ko`, so the module needs it. `session.rs` is for all others.
//!
//! C header: `include/liveupdate_ext.h`

use core::{
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

use kernel::{
    error::to_result,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    bindings::{
        self,
        liveupdate_file_op_args,
        liveupdate_session, //
    },
    IncomingFiles,
    OutgoingFiles, //
};

/// The session of the file that a callback is called for.
///
/// # Invariants
///
/// `session` is what `liveupdate_ext_session()` has returned for a callback that does not return as
/// long as this value is used.
pub(super) struct Session<'a> {
    session: *mut liveupdate_session,
    callback: PhantomData<&'a ()>,
}

impl Session<'_> {
    /// The session of the file that a callback is called for.
    ///
    /// # Safety
    ///
    /// `args` is what the orchestrator has passed to a callback, which does not return as long as the
    /// session is used.
    pub(super) unsafe fn of(args: *const liveupdate_file_op_args) -> Self {
        // SAFETY: By the requirement of this function. The orchestrator is `liveupdate.ko`: no other
        // has the function.
        let session = unsafe { bindings::liveupdate_ext_session(args) };
        // INVARIANT: By the requirement of this function.
        Self {
            session,
            callback: PhantomData,
        }
    }
}

impl OutgoingFiles for Session<'_> {
    fn token_of(&self, file: &File) -> Result<u64> {
        let mut token = 0;
        // SAFETY:
        // - By the type invariant the session is that of a callback that has not returned.
        // - The file is open as long as the reference exists, and by the invariants of `File` nobody
        //   uses its position without the lock.
        // - `token` can be written.
        to_result(unsafe {
            bindings::liveupdate_get_token_outgoing(self.session, file.as_ptr(), &mut token)
        })?;
        Ok(token)
    }
}

impl IncomingFiles for Session<'_> {
    fn retrieve(&self, token: u64) -> Result<ARef<File>> {
        let mut file = null_mut();
        // SAFETY: By the type invariant the session is that of a callback that has not returned.
        // `file` can be written.
        to_result(unsafe {
            bindings::liveupdate_get_file_incoming(self.session, token, &mut file)
        })?;
        let file = NonNull::new(file.cast()).ok_or(ENOENT)?;
        // SAFETY: The function has written an open file, with a reference that is ours. Nobody uses its
        // position without the lock: the orchestrator holds a reference besides those of file
        // descriptors.
        Ok(unsafe { ARef::from_raw(file) })
    }
}
