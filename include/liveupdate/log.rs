// SPDX-License-Identifier: GPL-2.0-only

//! How often a handler may write to the log.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use super::bindings;

/// Whether what a user does in a loop may have another line in the log.
///
/// # Context
///
/// Any.
pub(crate) fn may_log() -> bool {
    // SAFETY: There are no requirements: it uses a variable that has a lock of its own.
    unsafe { bindings::lu_may_log() }
}
