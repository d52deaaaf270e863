// SPDX-License-Identifier: GPL-2.0-only

//! Pinned memory that counts against `RLIMIT_MEMLOCK` of who asked for it.

use core::ptr::NonNull;

use kernel::prelude::*;

use super::bindings;

/// Pages that a user has pinned. Dropping it takes them off the account.
///
/// # Invariants
///
/// `pages` are accounted to `user`, to whom we hold a reference; without a user there are none.
pub(crate) struct Pinned {
    user: Option<NonNull<bindings::user_struct>>,
    pages: usize,
}

// SAFETY: The account of a user can be changed from anywhere.
unsafe impl Send for Pinned {}
// SAFETY: As above, and a shared reference changes nothing.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Opens an account for the current task's user; who has `CAP_IPC_LOCK` needs none.
    pub(crate) fn new() -> Self {
        // SAFETY: There are no requirements in process context.
        let user = NonNull::new(unsafe { bindings::lu_memlock_user() });
        // INVARIANT: The reference is ours, and nothing is accounted yet.
        Self { user, pages: 0 }
    }

    /// Adds `pages`. `ENOMEM` if that would be more than the current task's limit.
    pub(crate) fn add(&mut self, pages: u64) -> Result {
        let Some(user) = self.user else {
            return Ok(());
        };
        // SAFETY: By the type invariant the user is valid.
        if !unsafe { bindings::lu_memlock_add(user.as_ptr(), pages as usize) } {
            return Err(ENOMEM);
        }
        // INVARIANT: They were accounted.
        self.pages += pages as usize;
        Ok(())
    }

    /// Adds `pages` whether the limit allows it or not.
    pub(crate) fn add_anyway(&mut self, pages: u64) {
        if let Some(user) = self.user {
            // SAFETY: By the type invariant the user is valid.
            unsafe { bindings::lu_memlock_add_anyway(user.as_ptr(), pages as usize) };
            // INVARIANT: They were accounted.
            self.pages += pages as usize;
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(user) = self.user {
            // SAFETY: By the type invariant the pages are accounted, and the reference is ours.
            unsafe { bindings::lu_memlock_put(user.as_ptr(), self.pages) };
        }
    }
}
