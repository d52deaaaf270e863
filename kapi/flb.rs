// SPDX-License-Identifier: GPL-2.0-only

//! `struct liveupdate_flb`: an object bound to the life of files, and its callbacks.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    prelude::*, //
};

use super::{
    bindings::{
        self,
        liveupdate_flb_op_args,
        liveupdate_flb_ops, //
    },
    gate::{
        Gate,
        Key, //
    }, //
};

/// An FLB of another module.
///
/// # Invariants
///
/// `ops` are the callbacks of the value behind `gate`. None of them is missing.
#[pin_data]
pub(crate) struct ForeignFlb {
    #[pin]
    gate: Gate<bindings::liveupdate_flb>,
    ops: liveupdate_flb_ops,
}

// SAFETY: Besides the gate, which is `Send`, it consists of pointers to functions that any thread may
// call, by the requirements of `ForeignFlb::new()`.
unsafe impl Send for ForeignFlb {}
// SAFETY: As above, at once.
unsafe impl Sync for ForeignFlb {}

/// What identifies an FLB as long as another module may use it.
pub(crate) type FlbKey = Key<bindings::liveupdate_flb>;

impl Deref for ForeignFlb {
    type Target = Gate<bindings::liveupdate_flb>;

    fn deref(&self) -> &Self::Target {
        &self.gate
    }
}

/// The live object of an FLB: a value that only the module of the FLB understands.
#[derive(Clone, Copy)]
pub(crate) struct Object(pub(super) *mut c_void);

// SAFETY: The pointer is only given to callbacks, which any thread may call.
unsafe impl Send for Object {}

impl Object {
    /// Whether there is an object.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl ForeignFlb {
    /// An FLB. `EINVAL` if a callback or the owner is missing, or if the name is empty, has no end or is
    /// not UTF-8.
    ///
    /// # Safety
    ///
    /// - `flb` is valid during the call, and it or its initializer, with everything that it refers
    ///   to, until [`Gate::close`] has returned.
    /// - The callbacks do what the C header says, and any thread may call them, also several at once.
    pub(super) unsafe fn new(flb: NonNull<bindings::liveupdate_flb>) -> Result<impl PinInit<Self>> {
        // SAFETY: By the requirements of this function it is valid.
        let flb_ref = unsafe { flb.as_ref() };
        // SAFETY: By the requirements of this function they are valid, or there are none.
        let ops = *unsafe { flb_ref.ops.as_ref() }.ok_or(EINVAL)?;
        let complete = ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some();
        if !complete {
            return Err(EINVAL);
        }
        // SAFETY: By the requirements of this function. A module is not freed as long as something of
        // it is registered.
        let gate = unsafe { Gate::new(flb, ops.owner, &flb_ref.compatible) }?;
        // INVARIANT: The callbacks were copied, and all are there.
        Ok(pin_init!(Self { gate <- gate, ops }))
    }

    fn args(&self, flb: *mut bindings::liveupdate_flb) -> liveupdate_flb_op_args {
        liveupdate_flb_op_args {
            flb,
            ..Default::default()
        }
    }

    /// Calls `preserve`, which returns what the next kernel is told and maybe an object: its errors,
    /// `ENODEV` if the FLB is gone, `EIO` if it returns nonsense.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn preserve(&self) -> Result<(u64, Object)> {
        self.gate.call(|flb| {
            let mut args = self.args(flb);
            let callback = self.ops.preserve.ok_or(ENODEV)?;
            // SAFETY: The gate is open, so that the callback and its FLB are valid.
            self.checked("preserve", unsafe { callback(&mut args) })?;
            Ok((args.data, Object(args.obj)))
        })?
    }

    /// Calls `unpreserve` with what [`ForeignFlb::preserve`] has returned.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn unpreserve(&self, data: u64, object: Object) {
        let _ = self.gate.call(|flb| {
            let mut args = self.args(flb);
            (args.data, args.obj) = (data, object.0);
            if let Some(callback) = self.ops.unpreserve {
                // SAFETY: The gate is open, so that the callback and its FLB are valid.
                unsafe { callback(&mut args) };
            }
        });
    }

    /// Calls `retrieve`, which makes an object: its errors, `ENODEV` if the FLB is gone, `EIO` if it
    /// returns nonsense.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn retrieve(&self, data: u64) -> Result<Object> {
        self.gate.call(|flb| {
            let mut args = self.args(flb);
            args.data = data;
            let callback = self.ops.retrieve.ok_or(ENODEV)?;
            // SAFETY: The gate is open, so that the callback and its FLB are valid.
            self.checked("retrieve", unsafe { callback(&mut args) })?;
            Ok(Object(args.obj))
        })?
    }

    /// Calls `finish` with the object that [`ForeignFlb::retrieve`] has made.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn finish(&self, object: Object) {
        let _ = self.gate.call(|flb| {
            let mut args = self.args(flb);
            args.obj = object.0;
            if let Some(callback) = self.ops.finish {
                // SAFETY: The gate is open, so that the callback and its FLB are valid.
                unsafe { callback(&mut args) };
            }
        });
    }
}
