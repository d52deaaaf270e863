// SPDX-License-Identifier: GPL-2.0-only

//! Being asked before a kexec: the notifier chain of `patches/`.

use core::marker::PhantomData;

use kernel::{
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

/// Who takes part in the preparation of a kexec.
pub(crate) trait KexecPrepare: Send + Sync {
    /// `reboot(2)` was called, and nothing is lost yet. An error refuses the kexec and becomes the
    /// result of `reboot(2)`. Process context; may sleep.
    fn prepare(this: &Arc<Self>) -> Result;

    /// Somebody else refused after [`KexecPrepare::prepare`] succeeded. Same task.
    fn abort(this: &Arc<Self>);
}

/// # Invariants
///
/// `block` is the first field, so that a pointer to it is one to the whole.
#[repr(C)]
struct Notifier {
    block: bindings::notifier_block,
    context: *mut c_void,
}

/// Membership in the chain; it ends when this is dropped.
///
/// # Invariants
///
/// `notifier` is on the chain, and its context came from `Arc::<T>::into_foreign`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: KexecPrepare + 'static> {
    #[pin]
    notifier: Opaque<Notifier>,
    _context: PhantomData<Arc<T>>,
}

// SAFETY: The chain may be left on any thread, and `T` is `Send` and `Sync`.
unsafe impl<T: KexecPrepare> Send for Registration<T> {}
// SAFETY: There are no methods on a shared reference.
unsafe impl<T: KexecPrepare> Sync for Registration<T> {}

impl<T: KexecPrepare> Registration<T> {
    /// Joins the chain.
    pub(crate) fn new(context: Arc<T>) -> impl PinInit<Self, Error> {
        // INVARIANT: On success the notifier is on the chain with a context of the right type.
        try_pin_init!(Self {
            notifier <- Opaque::try_ffi_init(move |slot: *mut Notifier| {
                let context = context.into_foreign();
                let block = bindings::notifier_block {
                    notifier_call: Some(Self::call),
                    ..Default::default()
                };
                // SAFETY: `slot` is valid for writing.
                unsafe { slot.write(Notifier { block, context }) };
                // SAFETY: The block is initialized, and stays where it is until it has left the
                // chain in `drop`.
                let result = to_result(unsafe {
                    bindings::register_kexec_prepare_notifier(&raw mut (*slot).block)
                });
                if result.is_err() {
                    // SAFETY: The pointer came from `into_foreign` above, and nobody has it.
                    drop(unsafe { Arc::<T>::from_foreign(context) });
                }
                result
            }),
            _context: PhantomData,
        }? Error)
    }

    /// # Safety
    ///
    /// `block` must be that of a registration of this type.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the invariant of `Notifier`, and because the caller passes such a block.
        let context = unsafe { (*block.cast::<Notifier>()).context };
        // SAFETY: By the type invariant the context came from `into_foreign`; it is taken back
        // only after this block has left the chain, which waits for calls to end.
        let context: Arc<T> = unsafe { Arc::<T>::borrow(context) }.into();
        if event == bindings::kexec_prepare_event_KEXEC_PREPARE as c_ulong {
            match T::prepare(&context) {
                Ok(()) => bindings::NOTIFY_OK as c_int,
                // What `notifier_from_errno()` makes of an errno.
                Err(err) => {
                    bindings::NOTIFY_STOP_MASK as c_int
                        | (bindings::NOTIFY_OK as c_int - err.to_errno())
                }
            }
        } else {
            T::abort(&context);
            bindings::NOTIFY_OK as c_int
        }
    }
}

#[pinned_drop]
impl<T: KexecPrepare> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        let notifier = self.notifier.get();
        // SAFETY: By the type invariant the notifier is on the chain.
        unsafe { bindings::unregister_kexec_prepare_notifier(&raw mut (*notifier).block) };
        // SAFETY: By the type invariant, and nobody calls the notifier any more.
        drop(unsafe { Arc::<T>::from_foreign((*notifier).context) });
    }
}
