// SPDX-License-Identifier: GPL-2.0-only

//! Work of a task that several CPUs do at once, with the help of kernel threads that borrow what
//! the task has.

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    static_lock_class,
    types::Opaque, //
};

use super::bindings;

/// No more kernel threads than this help: all of them need the same locks for half of their time.
const MAX_HELPERS: usize = 3;

/// Calls `work` here, and at the same time on up to `helpers` kernel threads: as many as
/// [`MAX_HELPERS`] and the other CPUs that are online allow. All calls have returned when this does.
/// May sleep.
///
/// No call but the one here is sure to be made: where there is no memory, or no thread is free
/// before the one here returns, it is the only one. `work` must not need a lock that the caller
/// holds.
pub(crate) fn run<F: Fn() + Sync>(helpers: usize, work: F) {
    // SAFETY: There are no requirements.
    let others = unsafe { bindings::lu_other_cpus() } as usize;
    // SAFETY: It is dropped in this function, before `work` is.
    let crew = unsafe { Crew::new(helpers.min(others).min(MAX_HELPERS), &work) };
    work();
    drop(crew);
}

/// Something that a kernel thread is to call.
#[repr(C)]
struct Helper<F> {
    /// The first field, because [`Helper::call`] is given its address.
    item: Opaque<bindings::work_struct>,
    work: *const F,
}

impl<F: Fn() + Sync> Helper<F> {
    /// What the kernel thread calls.
    ///
    /// # Safety
    ///
    /// `item` must be that of a helper whose `work` is valid until the item has been cancelled.
    unsafe extern "C" fn call(item: *mut bindings::work_struct) {
        // SAFETY: The item is the first field of a helper; by the requirement of this function
        // its `work` is valid, and by its bound it may be called from any thread.
        unsafe { (*(*item.cast::<Self>()).work)() };
    }
}

/// Helpers that were asked to call something that lives for `'a`. Dropping it waits for those that
/// have begun; the others never will.
///
/// # Invariants
///
/// The items of all `helpers` are initialized where they are, and do not move. The `work` of each
/// is a reference that is valid for `'a`.
struct Crew<'a, F> {
    helpers: KVec<Helper<F>>,
    _work: PhantomData<&'a F>,
}

impl<'a, F: Fn() + Sync> Crew<'a, F> {
    /// Asks as many as `count`.
    ///
    /// # Safety
    ///
    /// The crew must be dropped before `'a` ends.
    unsafe fn new(count: usize, work: &'a F) -> Self {
        let mut helpers = KVec::new();
        // With less memory there are less of them, and it takes longer: that is all.
        while helpers.len() < count {
            if helpers.is_empty() && helpers.reserve(count, GFP_KERNEL | __GFP_NOWARN).is_err() {
                break;
            }
            let item = Opaque::uninit();
            if helpers.push(Helper { item, work }, GFP_KERNEL).is_err() {
                break;
            }
        }
        // INVARIANT: They are initialized below, and nothing is added to the vector any more.
        let crew = Self {
            helpers,
            _work: PhantomData,
        };
        for helper in &crew.helpers {
            let item = helper.item.get();
            // SAFETY: There is room for an item at that address, where it stays.
            unsafe {
                bindings::init_work_with_key(
                    item,
                    Some(Helper::<F>::call),
                    false,
                    c"liveupdate_helper".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                )
            };
        }
        for helper in &crew.helpers {
            // SAFETY: The item was initialized above, and the queue is always there. The function
            // is called while `work` is valid: dropping the crew, which is done before that
            // ends, cancels the item or waits for it.
            unsafe {
                bindings::queue_work_on(
                    bindings::wq_misc_consts_WORK_CPU_UNBOUND as kernel::ffi::c_int,
                    bindings::system_dfl_wq,
                    helper.item.get(),
                )
            };
        }
        crew
    }
}

impl<F> Drop for Crew<'_, F> {
    fn drop(&mut self) {
        for helper in &self.helpers {
            // SAFETY: By the type invariant the item is initialized.
            unsafe { bindings::cancel_work_sync(helper.item.get()) };
        }
    }
}
