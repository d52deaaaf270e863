// SPDX-License-Identifier: GPL-2.0-only

//! The locks under which memory is claimed.
//!
//! Pieces of memory that overlap are in one block of the largest order (`abi/marks.rs`). So claims in
//! one block exclude each other, and tasks that restore different files seldom wait.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    }, //
};
use pin_init::pin_init_array_from_fn;

use crate::abi::units::Pfn;

/// The number of locks: several for each of many CPUs. Each serves many blocks.
const COUNT: usize = 64;

/// One lock for each block. No task holds two of them.
#[pin_data]
pub(super) struct ClaimLocks {
    /// Mutexes, because those can be taken by whichever thread is running; a fair spinlock queues
    /// behind a preempted vCPU.
    #[pin]
    locks: [Mutex<()>; COUNT],
}

impl ClaimLocks {
    /// Locks that nobody holds.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            locks <- pin_init_array_from_fn(|_| new_mutex!(())),
        })
    }

    /// Takes the lock of the block that `pfn` is in.
    ///
    /// # Context
    ///
    /// May sleep. The caller holds no such lock.
    pub(super) fn lock(&self, pfn: Pfn) -> MutexGuard<'_, ()> {
        self.locks[pfn.block() as usize % COUNT].lock()
    }
}
