// SPDX-License-Identifier: GPL-2.0-only

//! Pinned memory that counts against `RLIMIT_MEMLOCK` of the user that asked for it.
//!
//! C header: [`include/linux/sched/user.h`](srctree/include/linux/sched/user.h)

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

use super::bindings;

/// A `struct user_struct`.
///
/// # Invariants
///
/// It is always reference counted: `get_uid()` keeps it alive until the matching `free_uid()`.
#[repr(transparent)]
struct User(Opaque<bindings::user_struct>);

// SAFETY: A user is not bound to a thread.
unsafe impl Send for User {}
// SAFETY: Its account is atomic, and all else that is done with a shared reference is to count it.
unsafe impl Sync for User {}

// SAFETY: By the type invariant.
unsafe impl AlwaysRefCounted for User {
    fn inc_ref(&self) {
        // SAFETY: The reference to `self` shows that the count is not zero.
        unsafe { bindings::lu_user_get(self.0.get()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the requirements of this function the caller owns a reference and gives it up.
        unsafe { bindings::lu_user_put(obj.cast().as_ptr()) };
    }
}

impl User {
    /// The user of the current task; `None` if the task has `CAP_IPC_LOCK`.
    fn of_current() -> Option<ARef<Self>> {
        // SAFETY: This is process context.
        let user = NonNull::new(unsafe { bindings::lu_user_of_current() })?;
        // SAFETY: We own the reference that was returned. `User` is transparent.
        Some(unsafe { ARef::from_raw(user.cast()) })
    }
}

/// Pages that are accounted to a user. Dropping it takes them off the account.
///
/// # Invariants
///
/// `pages` are accounted to `user`. Without a user, nothing is accounted.
pub(crate) struct LockedVm {
    user: Option<ARef<User>>,
    pages: usize,
}

impl LockedVm {
    /// Begins an account of the user of the current task. A task with `CAP_IPC_LOCK` needs none.
    ///
    /// # Context
    ///
    /// Process context.
    pub(crate) fn new() -> Self {
        // INVARIANT: Nothing is accounted yet.
        Self {
            user: User::of_current(),
            pages: 0,
        }
    }

    /// Adds `pages`. `ENOMEM` if the limit of the current task is too low.
    pub(crate) fn try_add(&mut self, pages: u64) -> Result {
        let Some(user) = &self.user else {
            return Ok(());
        };
        // SAFETY: We own a reference to the user.
        if !unsafe { bindings::lu_locked_vm_try_add(user.0.get(), pages as usize) } {
            return Err(ENOMEM);
        }
        // INVARIANT: They were accounted.
        self.pages += pages as usize;
        Ok(())
    }

    /// Adds `pages`, whatever the limit.
    pub(crate) fn add(&mut self, pages: u64) {
        if let Some(user) = &self.user {
            // SAFETY: We own a reference to the user.
            unsafe { bindings::lu_locked_vm_add(user.0.get(), pages as usize) };
            // INVARIANT: They were accounted.
            self.pages += pages as usize;
        }
    }
}

impl Drop for LockedVm {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            // SAFETY: We own a reference to the user. By the type invariant, that many pages are
            // accounted.
            unsafe { bindings::lu_locked_vm_sub(user.0.get(), self.pages) };
        }
    }
}
