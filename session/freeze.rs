// SPDX-License-Identifier: GPL-2.0-only

//! The freeze lock: either sessions change, or a kexec is being entered.
//!
//! Both states are values. [`Running`] proves that no kexec is being entered while it lives;
//! everything that changes a session takes one. [`Stopped`] proves that nothing changes any session
//! while it lives; serialization takes one.

use kernel::prelude::*;

use crate::kapi::{
    module::Entered,
    rwsem::{
        ReadGuard,
        RwSem,
        WriteGuard, //
    }, //
};

/// Lock 1 of [`crate::session`].
#[pin_data]
pub(super) struct FreezeLock {
    #[pin]
    sem: RwSem,
}

/// Proof that no kexec is being entered, and that the module stays loaded.
pub(super) struct Running<'a> {
    _guard: ReadGuard<'a>,
    entered: &'a Entered<'a>,
}

/// Proof that a kexec is being entered, and that no session changes.
pub(super) struct Stopped<'a> {
    guard: WriteGuard<'a>,
}

impl FreezeLock {
    /// A lock in the state in which sessions may change.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sem <- RwSem::new(),
        })
    }

    /// Calls `change`, which may change sessions. Waits while a kexec is being entered: if that
    /// goes through, for good.
    ///
    /// # Context
    ///
    /// Process context; sleeps. `change` must not access user memory: the owner of that memory
    /// could hold up `reboot(2)`.
    pub(super) fn run<R>(
        &self,
        entered: &Entered<'_>,
        change: impl FnOnce(&Running<'_>) -> R,
    ) -> R {
        change(&Running {
            _guard: self.sem.read(),
            entered,
        })
    }

    /// Waits until nothing changes any session.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(super) fn freeze(&self) -> Stopped<'_> {
        Stopped {
            guard: self.sem.write(),
        }
    }

    /// Lets sessions change again after [`Stopped::keep`].
    pub(super) fn thaw(&self) {
        self.sem.release();
    }
}

impl Stopped<'_> {
    /// Leaves everything stopped until [`FreezeLock::thaw`]. If the kexec goes through, nobody calls
    /// it.
    pub(super) fn keep(self) {
        self.guard.keep();
    }
}

impl<'a> Running<'a> {
    /// Proof that the module stays loaded.
    pub(super) fn entered(&self) -> &Entered<'a> {
        self.entered
    }
}
