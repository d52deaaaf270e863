// SPDX-License-Identifier: GPL-2.0-only

//! Access to something that another module has registered, until it is unregistered.
//!
//! What another module registers stays valid until the call that unregisters it returns. So each
//! callback is called through a gate, and that call closes the gate: it waits for callbacks that are
//! running, and later ones find the gate closed.
//!
//! A reference to the other module usually keeps the gate open: the module cannot go before its
//! files. But its initialization can fail after it has registered something, and then the kernel
//! frees it whatever references there are: see [`super::module`].

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_int,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    }, //
};

use super::{
    bindings,
    module::{
        OtherModule,
        Owner, //
    }, //
};

/// What identifies a `T` of another module as long as it is registered.
pub(crate) struct Key<T>(usize, PhantomData<fn(T)>);

impl<T> Key<T> {
    /// The key of the value at this address.
    pub(super) fn of(value: *mut T) -> Self {
        Self(value as usize, PhantomData)
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// The name and version of what a handler or an FLB writes.
///
/// # Invariants
///
/// The first `len` bytes are UTF-8, at least one and at most 47, none of them NUL.
#[derive(Clone, Copy)]
struct Compatible {
    bytes: [u8; 48],
    len: usize,
}

impl Compatible {
    /// `EINVAL` if the field is empty, not terminated, or not UTF-8.
    fn new(field: &[u8; 48]) -> Result<Self> {
        let len = field.iter().position(|byte| *byte == 0).ok_or(EINVAL)?;
        let text = field.get(..len).ok_or(EINVAL)?;
        if len == 0 || core::str::from_utf8(text).is_err() {
            return Err(EINVAL);
        }
        // INVARIANT: This was checked.
        Ok(Self { bytes: *field, len })
    }

    fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

/// The name of a module. It outlives the module.
#[derive(Clone, Copy)]
pub(crate) struct ModuleName([u8; NAME_SIZE]);

/// As `name` of `struct module`.
const NAME_SIZE: usize = bindings::LU_MODULE_NAME_LEN as usize;

impl ModuleName {
    /// The name of this module.
    pub(crate) fn this() -> Self {
        // SAFETY: The address of a static is not null. This module is not freed as long as its code
        // runs.
        unsafe { Self::of(NonNull::new_unchecked(&raw mut bindings::__this_module)) }
    }

    /// # Safety
    ///
    /// `module` is a module that is not freed during the call.
    unsafe fn of(module: NonNull<bindings::module>) -> Self {
        // SAFETY: By the requirement of this function. The name of a module does not change.
        Self(unsafe { (*module.as_ptr()).name })
    }

    /// The name.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// A handler or an FLB of another module, which may be gone.
///
/// # Invariants
///
/// As long as the gate is open, or a call is running, `value` and everything that it refers to is
/// valid.
#[pin_data]
pub(crate) struct Gate<T> {
    value: NonNull<T>,
    owner: Arc<Owner>,
    name: Compatible,
    module_name: ModuleName,
    #[pin]
    calls: Mutex<Calls>,
    /// Notified when no call is running any more, if the gate is closed.
    #[pin]
    idle: CondVar,
}

struct Calls {
    open: bool,
    /// A callback may lead to another one of the same handler. So this is a number, and a call never
    /// waits for a task that closes the gate, as a reader would for a writer.
    running: usize,
}

// SAFETY: `value` is only given to callbacks of the other module, which has promised that any thread
// may call them. The rest is `Send`.
unsafe impl<T> Send for Gate<T> {}
// SAFETY: As above, several at once.
unsafe impl<T> Sync for Gate<T> {}

impl<T> Gate<T> {
    /// An open gate. `EINVAL` if there is no owner, or if the name is empty, has no end, or is not
    /// UTF-8; `ENOMEM`.
    ///
    /// # Safety
    ///
    /// - `value`, and everything that it refers to, is valid until [`Gate::close`] has returned. Until
    ///   then `owner` is not freed.
    /// - Any thread may call the callbacks that it refers to, and several may do so at once.
    pub(super) unsafe fn new(
        value: NonNull<T>,
        owner: *mut bindings::module,
        compatible: &[u8; 48],
    ) -> Result<impl PinInit<Self>> {
        let name = Compatible::new(compatible)?;
        let owner = NonNull::new(owner).ok_or(EINVAL)?;
        // SAFETY: By the requirements of this function the owner is not freed meanwhile.
        let module_name = unsafe { ModuleName::of(owner) };
        // SAFETY: By the requirements of this function.
        let owner = unsafe { Owner::new(owner) }?;
        // INVARIANT: By the requirements of this function.
        Ok(pin_init!(Self {
            value,
            owner,
            name,
            module_name,
            calls <- new_mutex!(Calls {
                open: true,
                running: 0,
            }),
            idle <- new_condvar!(),
        }))
    }

    /// What identifies the value, as long as the gate is open.
    pub(crate) fn key(&self) -> Key<T> {
        Key::of(self.value.as_ptr())
    }

    /// The name and version of what the handler or FLB writes.
    pub(crate) fn compatible(&self) -> &str {
        self.name.as_str()
    }

    /// The name of the module that has registered it.
    pub(crate) fn module_name(&self) -> ModuleName {
        self.module_name
    }

    /// Takes a reference to the module. `ENODEV` if it is being unloaded, or if the gate is closed.
    ///
    /// # Context
    ///
    /// Any: it does not wait for [`Gate::close`], which waits for callbacks.
    pub(crate) fn pin(&self) -> Result<OtherModule> {
        self.owner.get()
    }

    /// Calls `call` with the value, which is valid during the call. `ENODEV` if the gate is closed.
    ///
    /// # Context
    ///
    /// Process context; sleeps. [`Gate::close`] waits until `call` returns.
    pub(super) fn call<R>(&self, call: impl FnOnce(*mut T) -> R) -> Result<R> {
        let _running = RunningCall::new(self)?;
        Ok(call(self.value.as_ptr()))
    }

    /// What an `int` callback has returned. `EIO` for a number that is no errno.
    pub(super) fn checked(&self, callback: &str, returned: c_int) -> Result {
        match returned {
            0 => Ok(()),
            -4095..=-1 => Err(Error::from_errno(returned)),
            _ => {
                pr_err!(
                    "handler {}: {callback} returned {returned}, which is no error number\n",
                    self.compatible()
                );
                Err(EIO)
            }
        }
    }

    /// Closes the gate, and waits until all calls have returned.
    ///
    /// # Context
    ///
    /// Process context of a call by the other module; sleeps. Not from within a call.
    pub(crate) fn close(&self) {
        self.owner.unregister();
        let mut calls = self.calls.lock();
        calls.open = false;
        while calls.running > 0 {
            self.idle.wait(&mut calls);
        }
    }
}

/// A call through a gate, which ends when this is dropped.
struct RunningCall<'a, T>(&'a Gate<T>);

impl<'a, T> RunningCall<'a, T> {
    /// `ENODEV` if the gate is closed.
    fn new(gate: &'a Gate<T>) -> Result<Self> {
        let mut calls = gate.calls.lock();
        if !calls.open {
            return Err(ENODEV);
        }
        calls.running += 1;
        drop(calls);
        Ok(Self(gate))
    }
}

impl<T> Drop for RunningCall<'_, T> {
    fn drop(&mut self) {
        let mut calls = self.0.calls.lock();
        calls.running -= 1;
        if calls.running == 0 && !calls.open {
            self.0.idle.notify_all();
        }
    }
}
