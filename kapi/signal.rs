// SPDX-License-Identifier: GPL-2.0-only

//! Long work ends when its task is killed.
//!
//! C header: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h)

use kernel::prelude::*;

use super::bindings;

/// `EINTR` if the current task has a fatal signal. No signal kills a worker.
///
/// # Context
///
/// Any.
pub(crate) fn unless_killed() -> Result {
    // SAFETY: It can be called in any context.
    match unsafe { bindings::lu_fatal_signal_pending() } {
        true => Err(EINTR),
        false => Ok(()),
    }
}
