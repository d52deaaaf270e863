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

impl Memcg {
    /// That of the current task.
    pub(crate) fn current() -> Self {
        // INVARIANT: The reference is ours.
        Self {
            // SAFETY: There are no requirements in process context.
            memcg: unsafe { bindings::lu_memcg_get() },
        }
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
