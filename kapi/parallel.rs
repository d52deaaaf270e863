// SPDX-License-Identifier: GPL-2.0-only

//! Work of a task that several CPUs do at once: kernel threads borrow what the task has.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    static_lock_class,
    types::Opaque, //
};

use super::bindings;

/// How many workers there are at most. All of them need the same locks for half of their time, so
/// that more would only wait.
const MAX_WORKERS: usize = 3;

/// Calls `work` in the current task, and at the same time on up to `workers` kernel threads: at most
/// [`MAX_WORKERS`], and at most one for each other CPU that is online. All calls have returned when
/// this returns.
///
/// Only the call in the current task is certain. Without memory, or if no kernel thread gets to run
/// before that call returns, there is no other.
///
/// # Context
///
/// May sleep. `work` must not take a lock that the caller holds.
pub(crate) fn run<F: Fn() + Sync>(workers: usize, work: F) {
    // SAFETY: It can be called in any context.
    let others = unsafe { bindings::lu_other_cpus() } as usize;
    // SAFETY: It is dropped in this function, before `work` is.
    let workers = unsafe { Workers::new(workers.min(others).min(MAX_WORKERS), &work) };
    work();
    drop(workers);
}

/// What a kernel thread is asked to call.
#[repr(C)]
struct Worker<F> {
    /// The first field, because [`Worker::call`] gets its address.
    item: Opaque<bindings::work_struct>,
    work: *const F,
}

impl<F> Worker<F> {
    /// The item, by a pointer that is valid for the whole worker: [`Worker::call`] gets it back.
    fn item(&self) -> *mut bindings::work_struct {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

impl<F: Fn() + Sync> Worker<F> {
    /// What the kernel thread calls.
    ///
    /// # Safety
    ///
    /// `item` is that of a worker whose `work` is valid until the item has been canceled.
    unsafe extern "C" fn call(item: *mut bindings::work_struct) {
        // SAFETY: The item is the first field of a worker. By the requirement of this function its
        // `work` is valid, and by its bound any thread may call it.
        unsafe { (*(*item.cast::<Self>()).work)() };
    }
}

/// Workers that were asked to call something that lives for `'a`. Dropping them waits for those that
/// have begun; the others never will.
///
/// # Invariants
///
/// The items of all workers are initialized where they are, and do not move. The `work` of each is
/// a reference that is valid for `'a`.
struct Workers<'a, F> {
    list: KVec<Worker<F>>,
    _work: PhantomData<&'a F>,
}

impl<'a, F: Fn() + Sync> Workers<'a, F> {
    /// Asks `count` kernel threads; fewer if there is no memory.
    ///
    /// # Safety
    ///
    /// The workers are dropped before `'a` ends.
    unsafe fn new(count: usize, work: &'a F) -> Self {
        let mut list = KVec::new();
        // With fewer workers the work takes longer, and nothing else changes.
        while list.len() < count {
            if list.is_empty() && list.reserve(count, GFP_KERNEL | __GFP_NOWARN).is_err() {
                break;
            }
            let item = Opaque::uninit();
            if list.push(Worker { item, work }, GFP_KERNEL).is_err() {
                break;
            }
        }
        // INVARIANT: The items are initialized below, and nothing is added to the vector any more.
        let workers = Self {
            list,
            _work: PhantomData,
        };
        for worker in &workers.list {
            let item = worker.item();
            // SAFETY: `item` is valid, and does not move. The name and the key are static.
            unsafe {
                bindings::init_work_with_key(
                    item,
                    Some(Worker::<F>::call),
                    false,
                    c"liveupdate_worker".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                )
            };
        }
        for worker in &workers.list {
            // SAFETY: The item was initialized above, and the queue exists as long as the kernel.
            // `work` is valid while the function runs: dropping the workers, which happens before
            // `'a` ends, cancels the item or waits for it.
            unsafe {
                bindings::queue_work_on(
                    bindings::wq_misc_consts_WORK_CPU_UNBOUND as kernel::ffi::c_int,
                    bindings::system_dfl_wq,
                    worker.item(),
                )
            };
        }
        workers
    }
}

impl<F> Drop for Workers<'_, F> {
    fn drop(&mut self) {
        for worker in &self.list {
            // SAFETY: By the type invariant the item is initialized. This may sleep.
            unsafe { bindings::cancel_work_sync(worker.item()) };
        }
    }
}
