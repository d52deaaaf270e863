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
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    }, //
};

use super::{
    bindings,
    module::{
        OtherModule,
        Owner, //
    },
    rwsem::RwSem, //
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

/// A handler or an FLB of another module, which may be gone.
///
/// # Invariants
///
/// As long as `closed` is 0 and `sem` is held, `value` and everything that it refers to is valid.
#[pin_data]
pub(crate) struct Gate<T> {
    value: NonNull<T>,
    owner: Arc<Owner>,
    name: Compatible,
    closed: Atomic<i32>,
    #[pin]
    sem: RwSem,
}

// SAFETY: `value` is only given to callbacks of the other module, which has promised that any thread
// may call them. The rest is `Send`.
unsafe impl<T> Send for Gate<T> {}
// SAFETY: As above, several at once.
unsafe impl<T> Sync for Gate<T> {}

impl<T> Gate<T> {
    /// An open gate. `sem` initializes its semaphore. `EINVAL` if there is no owner, or if the name is
    /// empty, has no end, or is not UTF-8; `ENOMEM`.
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
        sem: impl PinInit<RwSem>,
    ) -> Result<impl PinInit<Self>> {
        let name = Compatible::new(compatible)?;
        // SAFETY: By the requirements of this function.
        let owner = unsafe { Owner::new(owner) }?;
        // INVARIANT: By the requirements of this function.
        Ok(pin_init!(Self {
            value,
            owner,
            name,
            closed: Atomic::new(0),
            sem <- sem,
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
        let _open = self.sem.read();
        match self.closed.load(Relaxed) {
            0 => Ok(call(self.value.as_ptr())),
            _ => Err(ENODEV),
        }
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

    /// Closes the gate, when all calls have returned.
    ///
    /// # Context
    ///
    /// Process context of a call by the other module; sleeps. Not from within a call.
    pub(crate) fn close(&self) {
        self.owner.unregister();
        let _all = self.sem.write_unkillable();
        self.closed.store(1, Relaxed);
    }
}
