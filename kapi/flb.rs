// SPDX-License-Identifier: GPL-2.0-only

//! `struct liveupdate_flb`: an object bound to the life of files, and its callbacks.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use core::ptr::NonNull;

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
    file_handler::{
        checked,
        Compatible, //
    },
    gate::Gate,
    module::OtherModule,
    rwsem::RwSem, //
};

/// An FLB of another module.
///
/// # Invariants
///
/// - `ops` are the callbacks of the value behind `gate`, all of them there.
/// - `owner` is the module that has them. It is not freed before the gate is closed.
#[pin_data]
pub(crate) struct ForeignFlb {
    #[pin]
    gate: Gate<bindings::liveupdate_flb>,
    ops: liveupdate_flb_ops,
    owner: NonNull<bindings::module>,
    name: Compatible,
}

// SAFETY: `owner` is only used to take references to a module, which any thread may do. The rest is
// `Send`, or consists of pointers to functions that any thread may call.
unsafe impl Send for ForeignFlb {}
// SAFETY: As above, at once.
unsafe impl Sync for ForeignFlb {}

/// What identifies an FLB as long as somebody may use it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlbKey(usize);

impl FlbKey {
    /// What identifies the FLB at this address.
    pub(super) fn of(flb: *mut bindings::liveupdate_flb) -> Self {
        Self(flb as usize)
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
    /// An FLB. `EINVAL` if a callback or the owner is missing, or if the name is empty or has no end.
    ///
    /// # Safety
    ///
    /// - `flb` is valid during the call, and it or its initializer, with everything that it refers
    ///   to, until [`ForeignFlb::retire`] has returned.
    /// - The callbacks do what the C header says, and any thread may call them, also several at once.
    pub(super) unsafe fn new(flb: NonNull<bindings::liveupdate_flb>) -> Result<impl PinInit<Self>> {
        // SAFETY: By the requirements of this function it is valid.
        let (ops, compatible) = unsafe { ((*flb.as_ptr()).ops, (*flb.as_ptr()).compatible) };
        if ops.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the requirements of this function it is valid.
        let ops = unsafe { *ops };
        let complete = ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some();
        let owner = NonNull::new(ops.owner).filter(|_| complete).ok_or(EINVAL)?;
        let name = Compatible::new(&compatible)?;
        // INVARIANT: The callbacks were copied, and all are there. A module is not freed as long as
        // something of it is registered.
        Ok(pin_init!(Self {
            // SAFETY: By the requirements of this function.
            gate <- unsafe { Gate::new(flb, RwSem::new_for_flb()) },
            ops,
            owner,
            name,
        }))
    }

    /// What identifies the FLB.
    pub(crate) fn key(&self) -> FlbKey {
        FlbKey(self.gate.key())
    }

    /// The name and version of what it writes.
    pub(crate) fn compatible(&self) -> &str {
        self.name.as_str()
    }

    /// Ends all use of the callbacks.
    ///
    /// # Context
    ///
    /// Process context; sleeps until all callbacks have returned.
    pub(crate) fn retire(&self) {
        self.gate.close();
    }

    /// Takes a reference to the module of the FLB. `ENODEV` if it is being unloaded.
    pub(crate) fn pin(&self) -> Result<OtherModule> {
        self.gate.call(|_| {
            // SAFETY: By the type invariant the module is not freed as long as the gate is open, which
            // it is during the call.
            unsafe { OtherModule::get(self.owner) }
        })?
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
            checked(&self.name, "preserve", unsafe { callback(&mut args) })?;
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
            checked(&self.name, "retrieve", unsafe { callback(&mut args) })?;
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
