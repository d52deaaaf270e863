// SPDX-License-Identifier: GPL-2.0-only

//! `struct rw_semaphore`: many readers or one writer, who may sleep.

use kernel::{
    prelude::*,
    sync::Arc,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

use super::bindings;

/// A readers-writer semaphore that guards no data of its own.
///
/// # Invariants
///
/// `inner` is an initialized `struct rw_semaphore` that does not move.
#[pin_data]
pub(crate) struct RwSem {
    #[pin]
    inner: Opaque<bindings::rw_semaphore>,
}

// SAFETY: A `struct rw_semaphore` may be used from any thread.
unsafe impl Send for RwSem {}
// SAFETY: A `struct rw_semaphore` may be used from several threads at once.
unsafe impl Sync for RwSem {}

impl RwSem {
    /// Initializes a semaphore that nobody holds.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: The semaphore is initialized in place, and pinned from then on.
        pin_init!(Self {
            // SAFETY: `ffi_init` gives a pointer to valid memory for the semaphore.
            inner <- Opaque::ffi_init(|sem| unsafe { bindings::lu_rwsem_init(sem) }),
        })
    }

    /// Waits until there is no writer.
    pub(crate) fn read(&self) -> ReadGuard<'_> {
        // SAFETY: By the type invariant the semaphore is initialized.
        unsafe { bindings::down_read(self.inner.get()) };
        ReadGuard {
            sem: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// Keeps writers out as long as it lives.
pub(crate) struct ReadGuard<'a> {
    sem: &'a RwSem,
    _not_send: NotThreadSafe,
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The existence of the guard means that this task holds the semaphore for reading.
        unsafe { bindings::up_read(self.sem.inner.get()) };
    }
}

/// Something that contains a semaphore.
pub(crate) trait HasRwSem {
    /// The semaphore.
    fn rwsem(&self) -> &RwSem;
}

/// Keeps everybody else out as long as it lives. It can be kept across calls, because it shares
/// the ownership of what contains the semaphore.
///
/// It can be given to another thread, but lockdep wants to see it dropped by the task that made it.
pub(crate) struct WriteGuard<T: HasRwSem> {
    owner: Arc<T>,
}

impl<T: HasRwSem> WriteGuard<T> {
    /// Waits until there are neither readers nor a writer.
    pub(crate) fn new(owner: Arc<T>) -> Self {
        // SAFETY: By its type invariant the semaphore is initialized.
        unsafe { bindings::down_write(owner.rwsem().inner.get()) };
        Self { owner }
    }
}

impl<T: HasRwSem> Drop for WriteGuard<T> {
    fn drop(&mut self) {
        // SAFETY: The existence of the guard means that the semaphore is held for writing.
        unsafe { bindings::up_write(self.owner.rwsem().inner.get()) };
    }
}
