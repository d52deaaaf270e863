// SPDX-License-Identifier: GPL-2.0-only

//! Keeping the module loaded.
//!
//! The last reference to a module must not be put by the code of that module: `rmmod` could free
//! the code before it returns. A reference is therefore only put by code that can show [`Entered`]:
//! proof that its caller holds another one.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    types::NotThreadSafe, //
};

use super::bindings;

/// Proof that the module stays loaded until the current call returns to the kernel, because what
/// the kernel called holds a reference to it: an open file.
///
/// # Invariants
///
/// Until `'a` ends, the caller of the code that has this value holds a reference to the module.
pub(crate) struct Entered<'a> {
    _call: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl Entered<'_> {
    /// # Safety
    ///
    /// - The caller was called from outside of the module, by code that holds a reference to the
    ///   module until the call has returned.
    /// - `'a` ends before that call returns.
    pub(super) unsafe fn new() -> Self {
        // INVARIANT: The caller of this function vouches for it.
        Self {
            _call: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

/// A reference to the module, which cannot be unloaded meanwhile.
///
/// Dropping it without [`ModulePin::release`] keeps the module loaded for good, which is safe. If
/// the initialization of the module fails, the kernel frees the module whatever references there
/// are, and nothing of it is used any more.
#[must_use]
pub(crate) struct ModulePin(());

impl ModulePin {
    /// Takes a reference to this module. `ENODEV` if the module is being unloaded.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: `try_module_get()` of a module whose code is running has no requirements.
        if unsafe { bindings::lu_module_get() } {
            Ok(Self(()))
        } else {
            Err(ENODEV)
        }
    }

    /// Puts the reference.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn release(self, _entered: &Entered<'_>) {
        // SAFETY: `new()` took the reference, which ends with `self`. It is not the last one: by
        // the type invariant of `Entered` the caller of this code holds another.
        unsafe { bindings::lu_module_put() };
    }
}

/// Another module that has registered something.
///
/// A module with references is not unloaded. But if its initialization fails, the kernel frees it
/// whatever references there are, and these must not be put any more. So what such a module
/// unregisters during its initialization makes all its references worthless.
///
/// # Invariants
///
/// `module` is not freed as long as `state` is [`OwnerState::Registered`], or it is
/// [`OwnerState::Unregistered`] and there is an [`OtherModule`].
#[pin_data]
pub(super) struct Owner {
    module: NonNull<bindings::module>,
    #[pin]
    state: SpinLock<OwnerState>,
}

enum OwnerState {
    Registered,
    /// The module lives on.
    Unregistered,
    /// The module is about to be freed, or is.
    Freed,
}

// SAFETY: Any thread may take and put a reference to a module.
unsafe impl Send for Owner {}
// SAFETY: As above, several at once.
unsafe impl Sync for Owner {}

impl Owner {
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `module` is not freed until [`Owner::unregister`] was called.
    pub(super) unsafe fn new(module: NonNull<bindings::module>) -> Result<Arc<Self>> {
        // INVARIANT: By the requirement of this function.
        Arc::pin_init(
            pin_init!(Self {
                module,
                state <- new_spinlock!(OwnerState::Registered),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes a reference. `ENODEV` if the module is being unloaded, or has nothing registered.
    ///
    /// # Context
    ///
    /// Any.
    pub(super) fn get(self: &Arc<Self>) -> Result<OtherModule> {
        let state = self.state.lock();
        // SAFETY: By the type invariant the module is not freed in that state.
        let got = matches!(*state, OwnerState::Registered)
            && unsafe { bindings::lu_other_module_get(self.module.as_ptr()) };
        drop(state);
        // INVARIANT: This is the reference that was taken.
        got.then(|| OtherModule(self.clone())).ok_or(ENODEV)
    }

    /// Says that nothing is registered any more. The module may be freed when this has returned.
    ///
    /// # Context
    ///
    /// Any. The caller has been called by the module.
    pub(super) fn unregister(&self) {
        let mut state = self.state.lock();
        if !matches!(*state, OwnerState::Registered) {
            return;
        }
        // SAFETY: By the type invariant the module is not freed in that state.
        let loading = unsafe { bindings::lu_other_module_is_loading(self.module.as_ptr()) };
        // INVARIANT: A module that is initialized is not freed as long as there are references.
        *state = if loading {
            OwnerState::Freed
        } else {
            OwnerState::Unregistered
        };
    }
}

/// A reference to another module, which cannot be unloaded meanwhile. Dropping it puts it.
///
/// # Invariants
///
/// We own a reference to the module, unless its state is [`OwnerState::Freed`].
pub(crate) struct OtherModule(Arc<Owner>);

impl Clone for OtherModule {
    fn clone(&self) -> Self {
        let state = self.0.state.lock();
        if !matches!(*state, OwnerState::Freed) {
            // SAFETY: By the type invariant we own a reference, so another one may be taken.
            unsafe { bindings::lu_other_module_get_more(self.0.module.as_ptr()) };
        }
        drop(state);
        // INVARIANT: This is the reference that was taken.
        Self(self.0.clone())
    }
}

impl Drop for OtherModule {
    fn drop(&mut self) {
        let state = self.0.state.lock();
        if !matches!(*state, OwnerState::Freed) {
            // SAFETY: By the type invariant we own a reference, which ends here. The lock keeps the
            // module from being freed before this returns.
            unsafe { bindings::lu_other_module_put(self.0.module.as_ptr()) };
        }
    }
}
