// SPDX-License-Identifier: GPL-2.0-only

//! The freeze lock: either sessions change, or a kexec is being entered.
//!
//! Both states are values. [`Running`] proves that no kexec is being entered while it lives;
//! everything that changes a session takes one. [`Stopped`] proves that nothing changes any session
//! while it lives; serialization takes one.

use kernel::{
    current,
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    }, //
};

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
    /// Tasks that hold it for reading, or 0: the kexec that waits for them says in the log which. A
    /// task may take the place of another, so these need not be all.
    callers: [Atomic<i32>; MAX_CALLERS],
}

/// How many tasks the log can name.
const MAX_CALLERS: usize = 8;

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
            callers: [const { Atomic::new(0) }; MAX_CALLERS],
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
        let guard = self.sem.read();
        let pid = current!().pid();
        let caller = self.callers.get(pid as usize % MAX_CALLERS);
        if let Some(caller) = caller {
            caller.store(pid, Relaxed);
        }
        let result = change(&Running {
            _guard: guard,
            entered,
        });
        if let Some(caller) = caller {
            caller.store(0, Relaxed);
        }
        result
    }

    /// Waits until nothing changes any session, and says in the log for whom. `EINTR` if the task
    /// is killed.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(super) fn freeze(&self) -> Result<Stopped<'_>> {
        if let Some(guard) = self.sem.try_write() {
            return Ok(Stopped { guard });
        }
        pr_info!(
            "kexec waits for calls of other tasks:{}\n",
            Pids(&self.callers)
        );
        Ok(Stopped {
            guard: self.sem.write()?,
        })
    }

    /// Lets sessions change again after [`Stopped::keep`].
    pub(super) fn thaw(&self) {
        self.sem.release();
    }
}

/// Prints the numbers that are not 0.
struct Pids<'a>(&'a [Atomic<i32>]);

impl kernel::fmt::Display for Pids<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let pids = self.0.iter().map(|pid| pid.load(Relaxed));
        pids.filter(|pid| *pid != 0)
            .try_for_each(|pid| write!(f, " {pid}"))
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
