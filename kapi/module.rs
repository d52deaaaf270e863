// SPDX-License-Identifier: GPL-2.0-only

//! Keeping the module loaded.

use kernel::prelude::*;

use super::bindings;

/// The module cannot be unloaded as long as this lives.
pub(crate) struct ModulePin(());

impl ModulePin {
    /// Takes a reference to this module.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: There are no requirements.
        if unsafe { bindings::lu_module_get() } {
            Ok(Self(()))
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        // SAFETY: `new` took the reference. Whoever drops this was called from outside the module
        // through something that holds a reference of its own.
        unsafe { bindings::lu_module_put() };
    }
}
