// SPDX-License-Identifier: GPL-2.0-only

//! `struct rw_semaphore`: many readers or one writer, all of which may sleep.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        ordering::{
            Acquire,
            Release, //
        },
        Atomic, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

use super::bindings;

/// A readers-writer semaphore that guards no data of its own.
///
/// A writer can leave it held across calls ([`WriteGuard::keep`]), until somebody calls
/// [`RwSem::release`].
///
/// # Invariants
///
/// - `inner` is an initialized `struct rw_semaphore` that does not move.
/// - If `kept` is not 0, the semaphore is held for writing, and no [`WriteGuard`] stands for that.
#[pin_data]
pub(crate) struct RwSem {
    #[pin]
    inner: Opaque<bindings::rw_semaphore>,
    kept: Atomic<i32>,
}

// SAFETY: A `struct rw_semaphore` may be used from any thread.
unsafe impl Send for RwSem {}
// SAFETY: A `struct rw_semaphore` may be used from several threads at once, and `kept` is atomic.
unsafe impl Sync for RwSem {}

impl RwSem {
    /// Initializes a semaphore that nobody holds.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: The semaphore is initialized in place, and pinned from then on. It is not
        // held.
        pin_init!(Self {
            // SAFETY: `ffi_init` gives a pointer to valid memory for the semaphore.
            inner <- Opaque::ffi_init(|sem| unsafe { bindings::lu_rwsem_init(sem) }),
            kept: Atomic::new(0),
        })
    }

    /// Waits until there is no writer.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn read(&self) -> ReadGuard<'_> {
        // SAFETY: By the type invariant the semaphore is initialized.
        unsafe { bindings::down_read(self.inner.get()) };
        // INVARIANT: This task holds the semaphore for reading.
        ReadGuard {
            sem: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the semaphore for writing, if there are neither readers nor a writer.
    ///
    /// # Context
    ///
    /// Process context.
    pub(crate) fn try_write(&self) -> Option<WriteGuard<'_>> {
        // SAFETY: By the type invariant the semaphore is initialized.
        let taken = unsafe { bindings::down_write_trylock(self.inner.get()) } != 0;
        // INVARIANT: This task holds the semaphore for writing.
        taken.then(|| WriteGuard {
            sem: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Waits until there are neither readers nor a writer. `EINTR` if the task is killed.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn write(&self) -> Result<WriteGuard<'_>> {
        // SAFETY: By the type invariant the semaphore is initialized.
        to_result(unsafe { bindings::down_write_killable(self.inner.get()) })?;
        // INVARIANT: This task holds the semaphore for writing.
        Ok(WriteGuard {
            sem: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Releases what [`WriteGuard::keep`] has kept, and says whether there was anything.
    ///
    /// # Context
    ///
    /// The task that called [`RwSem::write`]: debug kernels check that.
    pub(crate) fn release(&self) -> bool {
        let kept = self.kept.xchg(0, Acquire) != 0;
        if kept {
            // SAFETY: By the type invariant the semaphore is initialized, and was held for writing
            // without a guard. The exchange makes sure that only one caller releases it.
            unsafe { bindings::up_write(self.inner.get()) };
        }
        kept
    }
}

/// Keeps writers out until it is dropped.
///
/// # Invariants
///
/// The current task holds `sem` for reading.
pub(crate) struct ReadGuard<'a> {
    sem: &'a RwSem,
    _not_send: NotThreadSafe,
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the semaphore is initialized, and this task holds it for
        // reading.
        unsafe { bindings::up_read(self.sem.inner.get()) };
    }
}

/// Keeps readers and other writers out until it is dropped.
///
/// # Invariants
///
/// The current task holds `sem` for writing.
pub(crate) struct WriteGuard<'a> {
    sem: &'a RwSem,
    _not_send: NotThreadSafe,
}

impl WriteGuard<'_> {
    /// Leaves the semaphore held until [`RwSem::release`], maybe for good.
    pub(crate) fn keep(self) {
        // INVARIANT: The semaphore is held for writing, and the guard is forgotten.
        self.sem.kept.store(1, Release);
        core::mem::forget(self);
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the semaphore is initialized, and this task holds it for
        // writing.
        unsafe { bindings::up_write(self.sem.inner.get()) };
    }
}
