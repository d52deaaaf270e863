// SPDX-License-Identifier: GPL-2.0-only

//! Access to something that another module has registered, until it is unregistered.
//!
//! What another module registers stays valid until the call that unregisters it returns. So each
//! callback is called through a gate, and that call closes the gate: it waits for callbacks that are
//! running, and later ones find the gate closed.
//!
//! A reference to the other module usually keeps the gate open: the module cannot go before its
//! files. But its initialization can fail after it has registered something, and then the kernel
//! frees it whatever references there are.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    }, //
};

use super::rwsem::RwSem;

/// A value of another module.
///
/// # Invariants
///
/// As long as `closed` is 0 and `sem` is held, `value` and everything that it refers to is valid.
#[pin_data]
pub(super) struct Gate<T> {
    value: NonNull<T>,
    closed: Atomic<i32>,
    #[pin]
    sem: RwSem,
}

// SAFETY: The pointer is only given to callbacks of the other module, which has promised that any
// thread may call them.
unsafe impl<T> Send for Gate<T> {}
// SAFETY: As above, several at once.
unsafe impl<T> Sync for Gate<T> {}

impl<T> Gate<T> {
    /// An open gate. `sem` initializes its semaphore.
    ///
    /// # Safety
    ///
    /// - `value`, and everything that it refers to, is valid until [`Gate::close`] has returned.
    /// - Any thread may call the callbacks that it refers to, and several may do so at once.
    pub(super) unsafe fn new(value: NonNull<T>, sem: impl PinInit<RwSem>) -> impl PinInit<Self> {
        // INVARIANT: By the requirements of this function.
        pin_init!(Self {
            value,
            closed: Atomic::new(0),
            sem <- sem,
        })
    }

    /// What identifies the value, as long as the gate is open.
    pub(super) fn key(&self) -> usize {
        self.value.as_ptr() as usize
    }

    /// Calls `call` with the value, which is valid during the call. `ENODEV` if the gate is closed.
    ///
    /// # Context
    ///
    /// Process context; sleeps. [`Gate::close`] waits until `call` returns.
    pub(super) fn call<R>(&self, call: impl FnOnce(*mut T) -> R) -> Result<R> {
        let _open = self.sem.read();
        match self.closed.load(Relaxed) {
            0 => Ok(call(self.value.as_ptr())),
            _ => Err(ENODEV),
        }
    }

    /// Closes the gate, when all calls have returned.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Not from within a call.
    pub(super) fn close(&self) {
        let _all = self.sem.write_unkillable();
        self.closed.store(1, Relaxed);
    }
}
