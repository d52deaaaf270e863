// SPDX-License-Identifier: GPL-2.0-only

//! The notifier chain that `kernel_kexec()` asks before the point of no return.
//!
//! The chain comes with `patches/`: `KEXEC_PREPARE` may refuse the kexec, `KEXEC_PREPARE_ABORT` tells
//! those that had agreed that another one refused it.
//!
//! C header: [`include/linux/kexec.h`](srctree/include/linux/kexec.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    container_of,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

use super::bindings;

/// The image of the kernel that a kexec enters.
///
/// # Invariants
///
/// It points to a `struct kimage` that is valid for `'a`.
pub(crate) struct Image<'a>(NonNull<c_void>, PhantomData<&'a ()>);

impl Image<'_> {
    /// Whether the image tells its kernel where KHO has put what this kernel preserves.
    /// `kexec_file_load(2)` writes that, and `kexec_load(2)` does not.
    pub(crate) fn hands_over(&self) -> bool {
        // SAFETY: By the type invariant the image is valid.
        unsafe { bindings::lu_image_hands_over(self.0.as_ptr()) }
    }
}

/// A participant in the preparation of a kexec.
pub(crate) trait KexecPrepare: Send + Sync {
    /// A task has called `reboot(2)` to enter `image`, and nothing is lost yet. An error refuses
    /// the kexec and becomes the result of `reboot(2)`.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn prepare(&self, image: &Image<'_>) -> Result;

    /// No kexec comes, although [`KexecPrepare::prepare`] succeeded: a later participant refused. It
    /// may also be called without a `prepare()` before it, if the module was loaded in between.
    ///
    /// # Context
    ///
    /// The task that called [`KexecPrepare::prepare`]; may sleep.
    fn abort(&self);
}

/// What stands on the chain.
struct Notifier {
    block: bindings::notifier_block,
    context: *mut c_void,
}

/// Membership in the chain. Dropping it leaves the chain.
///
/// # Invariants
///
/// The block of `notifier` is on the chain, and its context came from `Arc::<T>::into_foreign()`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: KexecPrepare + 'static> {
    #[pin]
    notifier: Opaque<Notifier>,
    _context: PhantomData<Arc<T>>,
}

// SAFETY: Any thread may leave the chain and drop the context: `T` is `Send` and `Sync`.
unsafe impl<T: KexecPrepare> Send for Registration<T> {}
// SAFETY: There are no methods on a shared reference.
unsafe impl<T: KexecPrepare> Sync for Registration<T> {}

impl<T: KexecPrepare> Registration<T> {
    /// Joins the chain.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn new(context: Arc<T>) -> impl PinInit<Self, Error> {
        // INVARIANT: On success the block is on the chain, with a context from `into_foreign()`.
        try_pin_init!(Self {
            notifier <- Opaque::try_ffi_init(move |slot: *mut Notifier| {
                let context = context.into_foreign();
                let block = bindings::notifier_block {
                    notifier_call: Some(Self::call),
                    ..Default::default()
                };
                // SAFETY: `try_ffi_init()` gives a pointer that is valid for writing.
                unsafe { slot.write(Notifier { block, context }) };
                // SAFETY: The block is initialized. It is pinned, and leaves the chain in `drop()`
                // before its memory is freed.
                let result = to_result(unsafe {
                    bindings::register_kexec_prepare_notifier(&raw mut (*slot).block)
                });
                if result.is_err() {
                    // SAFETY: The pointer came from `into_foreign()` above, and the block that
                    // holds it is not on the chain.
                    drop(unsafe { Arc::<T>::from_foreign(context) });
                }
                result
            }),
            _context: PhantomData,
        }? Error)
    }

    /// # Safety
    ///
    /// - `block` is that of a [`Registration`] of the same `T`, on the chain during the call.
    /// - `image` is a `struct kimage` that is valid during the call.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        image: *mut c_void,
    ) -> c_int {
        // SAFETY: By the requirements `block` is the field of a valid `Notifier`.
        let context = unsafe { (*container_of!(block, Notifier, block)).context };
        // SAFETY: By the type invariant the context came from `into_foreign()`. It is taken back
        // only after the block has left the chain, which waits for calls to return.
        let context = unsafe { Arc::<T>::borrow(context) };
        if event == bindings::kexec_prepare_event_KEXEC_PREPARE as c_ulong {
            let image = NonNull::new(image).ok_or(EINVAL);
            // INVARIANT: By the requirements the image is valid until this function returns.
            let result = image.and_then(|image| context.prepare(&Image(image, PhantomData)));
            match result {
                Ok(()) => bindings::NOTIFY_OK as c_int,
                // What `notifier_from_errno()` makes of an errno.
                Err(err) => {
                    bindings::NOTIFY_STOP_MASK as c_int
                        | (bindings::NOTIFY_OK as c_int - err.to_errno())
                }
            }
        } else {
            context.abort();
            bindings::NOTIFY_OK as c_int
        }
    }
}

#[pinned_drop]
impl<T: KexecPrepare> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        let notifier = self.notifier.get();
        // SAFETY: By the type invariant the block is on the chain.
        unsafe { bindings::unregister_kexec_prepare_notifier(&raw mut (*notifier).block) };
        // SAFETY: By the type invariant the context came from `into_foreign()`. The block has left
        // the chain, so that no call borrows it.
        drop(unsafe { Arc::<T>::from_foreign((*notifier).context) });
    }
}
