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
    prelude::*,
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

/// A reference to another module, which cannot be unloaded meanwhile. Dropping it puts it.
///
/// # Invariants
///
/// We own a reference to the module.
pub(crate) struct OtherModule(NonNull<bindings::module>);

// SAFETY: A reference to a module may be put by any thread.
unsafe impl Send for OtherModule {}
// SAFETY: A shared reference only allows to take another one, which any thread may do.
unsafe impl Sync for OtherModule {}

impl OtherModule {
    /// Takes a reference. `ENODEV` if the module is being unloaded.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Safety
    ///
    /// `module` is a module that is not freed during the call.
    pub(super) unsafe fn get(module: NonNull<bindings::module>) -> Result<Self> {
        // SAFETY: By the requirement of this function the module is valid.
        if !unsafe { bindings::lu_other_module_get(module.as_ptr()) } {
            return Err(ENODEV);
        }
        // INVARIANT: This is the reference that was taken.
        Ok(Self(module))
    }
}

impl Clone for OtherModule {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant we own a reference, so another one may be taken.
        unsafe { bindings::lu_other_module_get_more(self.0.as_ptr()) };
        // INVARIANT: This is the reference that was taken.
        Self(self.0)
    }
}

impl Drop for OtherModule {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference, which ends here.
        unsafe { bindings::lu_other_module_put(self.0.as_ptr()) };
    }
}
