// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where vCPU threads wait while the machine is stopped.
//!
//! A thread passes the gate with [`Gate::enter`] and is inside until it drops what that
//! returns. [`Gate::halt`] closes the gate and returns when no thread is inside. A guest that
//! has ended never runs again, so nobody saves it for the next kernel as if it were alive.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustix::event::{eventfd, EventfdFlags};

/// A signal may arrive just before `KVM_RUN`, where it interrupts nothing. So it is sent again
/// after this time.
const SIGNAL_AGAIN: Duration = Duration::from_millis(2);

/// Locks a mutex whose data stays consistent when a thread panics.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the vCPU threads shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Stop,
    Run,
    /// Return. Nothing follows this.
    End,
}

struct State {
    wanted: Wanted,
    /// Number of threads inside.
    inside: usize,
    /// Why the guest has ended.
    why: Option<String>,
}

/// The gate of one machine.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether [`Wanted::Run`] is wanted. A vCPU reads it after each exit, without the lock.
    open: AtomicBool,
    ended: OwnedFd,
}

impl Gate {
    /// A gate that is closed.
    pub fn new() -> Result<Self> {
        Ok(Self {
            state: Mutex::new(State {
                wanted: Wanted::Stop,
                inside: 0,
                why: None,
            }),
            changed: Condvar::new(),
            open: AtomicBool::new(false),
            ended: eventfd(0, EventfdFlags::CLOEXEC)?,
        })
    }

    /// Whether threads inside may stay there.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Becomes readable when the guest has ended.
    pub fn ended(&self) -> &OwnedFd {
        &self.ended
    }

    /// Why the guest has ended, if it has.
    pub fn why_ended(&self) -> Option<String> {
        lock(&self.state).why.clone()
    }

    /// Says what the threads shall do. A guest that has ended does not run, and threads that
    /// shall return are not stopped on their way.
    pub fn want(&self, wanted: Wanted) {
        let mut state = lock(&self.state);
        if state.wanted == Wanted::End || (wanted == Wanted::Run && state.why.is_some()) {
            return;
        }
        state.wanted = wanted;
        self.open.store(wanted == Wanted::Run, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Waits until the thread may run. Returns `None` when it shall return.
    pub fn enter(&self) -> Option<Inside<'_>> {
        let mut state = lock(&self.state);
        loop {
            match state.wanted {
                Wanted::Run => {
                    state.inside += 1;
                    return Some(Inside(self));
                }
                Wanted::End => return None,
                Wanted::Stop => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Closes the gate, and waits until no thread is inside. `signal` interrupts the threads.
    pub fn halt(&self, wanted: Wanted, signal: impl Fn()) {
        self.want(wanted);
        loop {
            signal();
            let state = lock(&self.state);
            let (state, _) = self
                .changed
                .wait_timeout_while(state, SIGNAL_AGAIN, |state| state.inside > 0)
                .unwrap_or_else(PoisonError::into_inner);
            if state.inside == 0 {
                return;
            }
        }
    }

    /// The guest cannot go on. The first reason is kept.
    pub fn end(&self, why: String) {
        lock(&self.state).why.get_or_insert(why);
        self.want(Wanted::Stop);
        if let Err(error) = rustix::io::write(&self.ended, &1_u64.to_ne_bytes()) {
            tracing::error!("cannot report that the guest has ended: {error}");
        }
    }
}

/// A thread inside the gate.
pub struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    /// Leaves, also if the thread panicked: the gate would wait for it forever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end("a vCPU's thread panicked".to_string());
        }
        lock(&self.0.state).inside -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::Arc;
    use std::thread::JoinHandle;

    use super::*;

    /// A thread that counts while it is inside.
    fn thread(gate: &Arc<Gate>, count: &Arc<AtomicUsize>) -> JoinHandle<()> {
        let (gate, count) = (gate.clone(), count.clone());
        std::thread::spawn(move || {
            while let Some(_inside) = gate.enter() {
                while gate.is_open() {
                    count.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            }
        })
    }

    #[test]
    fn no_thread_runs_while_the_gate_is_closed() {
        let gate = Arc::new(Gate::new().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let threads = [thread(&gate, &count), thread(&gate, &count)];
        for _ in 0..20 {
            let before = count.load(Ordering::SeqCst);
            gate.want(Wanted::Run);
            while count.load(Ordering::SeqCst) < before + 10 {
                std::thread::yield_now();
            }
            gate.halt(Wanted::Stop, || ());
            let stopped = count.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(count.load(Ordering::SeqCst), stopped);
        }
        gate.halt(Wanted::End, || ());
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_guest_that_has_ended_does_not_run() {
        let gate = Gate::new().unwrap();
        gate.end("first".to_string());
        gate.end("second".to_string());
        gate.want(Wanted::Run);
        assert!(!gate.is_open());
        assert_eq!(gate.why_ended().unwrap(), "first");
    }

    #[test]
    fn threads_return_although_the_guest_ends_at_the_same_time() {
        let gate = Arc::new(Gate::new().unwrap());
        let thread = thread(&gate, &Arc::default());
        gate.want(Wanted::End);
        gate.end("late".to_string());
        thread.join().unwrap();
    }

    #[test]
    fn a_panic_ends_the_guest() {
        let gate = Arc::new(Gate::new().unwrap());
        gate.want(Wanted::Run);
        let thread = std::thread::spawn({
            let gate = gate.clone();
            move || {
                let _inside = gate.enter();
                std::panic::resume_unwind(Box::new(()));
            }
        });
        assert!(thread.join().is_err());
        gate.halt(Wanted::Stop, || ());
        assert!(gate.why_ended().is_some());
    }
}
