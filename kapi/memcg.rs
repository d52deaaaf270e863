// SPDX-License-Identifier: GPL-2.0-only

//! Memory cgroups: who pays for what is made for a task.

use kernel::bindings as kernel_bindings;

use super::bindings;

/// The memory cgroup that the memory of a task is charged to.
///
/// # Invariants
///
/// We own a reference to `memcg`; it is null if the kernel has no memory cgroups.
pub(crate) struct Memcg {
    memcg: *mut kernel_bindings::mem_cgroup,
}

// SAFETY: A reference to a memory cgroup is not bound to a thread.
unsafe impl Send for Memcg {}
// SAFETY: A shared reference only reads, and what C does with the pointer may be done by several
// threads at once.
unsafe impl Sync for Memcg {}

impl Memcg {
    /// That of the current task.
    pub(crate) fn current() -> Self {
        // INVARIANT: The reference is ours.
        Self {
            // SAFETY: There are no requirements in process context.
            memcg: unsafe { bindings::lu_memcg_get() },
        }
    }

    /// How many pages can be charged to it without a wait for some to be freed, if nobody else
    /// charges any. Without memory cgroups, there is no limit.
    pub(crate) fn room(&self) -> u64 {
        // SAFETY: By the type invariant it is valid, or null.
        unsafe { bindings::lu_memcg_room(self.memcg) as u64 }
    }

    pub(super) fn as_ptr(&self) -> *mut kernel_bindings::mem_cgroup {
        self.memcg
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::lu_memcg_put(self.memcg) };
    }
}
