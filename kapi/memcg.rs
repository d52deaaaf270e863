// SPDX-License-Identifier: GPL-2.0-only

//! Memory cgroups, which pages are charged to.
//!
//! C header: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h)

use core::ptr::NonNull;

use kernel::{
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

use super::bindings;

/// A `struct mem_cgroup`.
///
/// # Invariants
///
/// It is always reference counted: `css_get()` keeps it alive until the matching `css_put()`.
#[repr(transparent)]
pub(crate) struct MemCgroup(Opaque<bindings::mem_cgroup>);

// SAFETY: A memory cgroup is not bound to a thread.
unsafe impl Send for MemCgroup {}
// SAFETY: All that is done with a shared reference synchronizes itself.
unsafe impl Sync for MemCgroup {}

// SAFETY: By the type invariant.
unsafe impl AlwaysRefCounted for MemCgroup {
    fn inc_ref(&self) {
        // SAFETY: The reference to `self` shows that the count is not zero.
        unsafe { bindings::lu_memcg_get(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the requirements of this function the caller owns a reference and gives it up.
        unsafe { bindings::lu_memcg_put(obj.cast().as_ptr()) };
    }
}

impl MemCgroup {
    /// The one that memory of the current task is charged to; `None` if there are no memory cgroups.
    ///
    /// # Context
    ///
    /// Process context.
    pub(crate) fn of_current() -> Option<ARef<Self>> {
        // SAFETY: This is process context.
        let memcg = NonNull::new(unsafe { bindings::lu_memcg_of_current() })?;
        // SAFETY: We own the reference that was returned. `MemCgroup` is transparent.
        Some(unsafe { ARef::from_raw(memcg.cast()) })
    }

    /// How many pages can be charged to it before reclaim has to free some, if no other task charges
    /// any meanwhile.
    pub(crate) fn headroom(&self) -> u64 {
        // SAFETY: The reference to `self` shows that it is valid.
        unsafe { bindings::lu_memcg_headroom(self.as_ptr()) as u64 }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::mem_cgroup {
        self.0.get()
    }
}
