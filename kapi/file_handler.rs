// SPDX-License-Identifier: GPL-2.0-only

//! `struct liveupdate_file_handler`: a handler that another module has registered, and its callbacks.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use core::ptr::{
    null_mut,
    NonNull, //
};

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    bindings::{
        self,
        liveupdate_file_op_args,
        liveupdate_file_ops, //
    },
    gate::Gate,
    module::OtherModule,
    rwsem::RwSem, //
};

/// A handler of another module.
///
/// # Invariants
///
/// - `ops` are the callbacks of the value behind `gate`; the required ones are there.
/// - `owner` is the module that has them. It is not freed before the gate is closed.
#[pin_data]
pub(crate) struct FileHandler {
    #[pin]
    gate: Gate<bindings::liveupdate_file_handler>,
    ops: liveupdate_file_ops,
    owner: NonNull<bindings::module>,
    name: Compatible,
}

// SAFETY: `owner` is only used to take references to a module, which any thread may do. The rest is
// `Send`, or consists of pointers to functions that any thread may call.
unsafe impl Send for FileHandler {}
// SAFETY: As above, at once.
unsafe impl Sync for FileHandler {}

/// What identifies a handler as long as it is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandlerKey(pub(super) usize);

/// The name and version of what a handler or an FLB writes.
///
/// # Invariants
///
/// The first `len` bytes are UTF-8, at least one and at most 47, none of them NUL.
#[derive(Clone, Copy)]
pub(crate) struct Compatible {
    bytes: [u8; 48],
    len: usize,
}

impl Compatible {
    /// `EINVAL` if the field is empty, not terminated, or not UTF-8.
    pub(super) fn new(field: &[u8; 48]) -> Result<Self> {
        let bytes = *field;
        let len = bytes.iter().position(|byte| *byte == 0).ok_or(EINVAL)?;
        let text = bytes.get(..len).ok_or(EINVAL)?;
        if len == 0 || core::str::from_utf8(text).is_err() {
            return Err(EINVAL);
        }
        // INVARIANT: This was checked.
        Ok(Self { bytes, len })
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

/// What an `int` callback has returned. `EIO` for a number that is no errno.
pub(super) fn checked(name: &Compatible, callback: &str, returned: c_int) -> Result {
    match returned {
        0 => Ok(()),
        -4095..=-1 => Err(Error::from_errno(returned)),
        _ => {
            pr_err!(
                "handler {}: {callback} returned {returned}, which is no error number\n",
                name.as_str()
            );
            Err(EIO)
        }
    }
}

impl FileHandler {
    /// `EINVAL` if a required callback or the owner is missing, or if the name is empty or has no
    /// end; `ENOMEM`.
    ///
    /// # Safety
    ///
    /// - `handler` is valid, and with it everything it refers to, until [`FileHandler::retire`] has
    ///   returned.
    /// - The callbacks do what the C header says, and any thread may call them, also several at once.
    pub(super) unsafe fn new(
        handler: NonNull<bindings::liveupdate_file_handler>,
    ) -> Result<Arc<Self>> {
        // SAFETY: By the requirements of this function it is valid.
        let (ops, compatible) = unsafe {
            let handler = handler.as_ptr();
            ((*handler).ops, (*handler).compatible)
        };
        if ops.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the requirements of this function it is valid.
        let ops = unsafe { *ops };
        let required = ops.can_preserve.is_some()
            && ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some();
        let owner = NonNull::new(ops.owner).filter(|_| required).ok_or(EINVAL)?;
        let name = Compatible::new(&compatible)?;
        // INVARIANT: The callbacks were copied, and the required ones are there. A module is not
        // freed as long as something of it is registered.
        Arc::pin_init(
            pin_init!(Self {
                // SAFETY: By the requirements of this function.
                gate <- unsafe { Gate::new(handler, RwSem::new_for_handler()) },
                ops,
                owner,
                name,
            }),
            GFP_KERNEL,
        )
    }

    /// What identifies the handler.
    pub(crate) fn key(&self) -> HandlerKey {
        HandlerKey(self.gate.key())
    }

    /// The name and version of what the handler writes.
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

    /// Takes a reference to the module of the handler. `ENODEV` if it is being unloaded.
    pub(crate) fn pin(&self) -> Result<OtherModule> {
        self.gate.call(|_| {
            // SAFETY: By the type invariant the module is not freed as long as the gate is open, which
            // it is during the call.
            unsafe { OtherModule::get(self.owner) }
        })?
    }

    fn args(&self, handler: *mut bindings::liveupdate_file_handler) -> liveupdate_file_op_args {
        liveupdate_file_op_args {
            handler,
            ..Default::default()
        }
    }

    /// Calls `can_preserve`. A handler that is gone can preserve nothing.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn can_preserve(&self, file: &File) -> bool {
        let answer = self.gate.call(|handler| {
            // SAFETY: The gate is open, so that the callback and its handler are valid. The file is
            // open.
            self.ops
                .can_preserve
                .is_some_and(|callback| unsafe { callback(handler, file.as_ptr()) })
        });
        answer.unwrap_or(false)
    }

    /// What `get_id` says, or else the address of the open file.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn id(&self, file: &File) -> usize {
        let address = file.as_ptr() as usize;
        let answer = self.gate.call(|_| match self.ops.get_id {
            // SAFETY: The gate is open, so that the callback is valid. The file is open.
            Some(callback) => unsafe { callback(file.as_ptr()) },
            None => address,
        });
        answer.unwrap_or(address)
    }

    /// Calls `retrieve`, and takes over the file that it returns. `ENODEV` if the handler is gone,
    /// `EIO` if it returns nonsense.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn retrieve(&self, data: u64) -> Result<ARef<File>> {
        self.gate.call(|handler| {
            let mut args = self.args(handler);
            args.serialized_data = data;
            let callback = self.ops.retrieve.ok_or(ENODEV)?;
            // SAFETY: The gate is open, so that the callback and its handler are valid.
            checked(&self.name, "retrieve", unsafe { callback(&mut args) })?;
            let address = args.file as isize;
            let file = NonNull::new(args.file).filter(|_| !(-4095..0).contains(&address));
            let file = file.ok_or(EIO).inspect_err(|_| {
                pr_err!("handler {}: retrieve returned no file\n", self.compatible());
            })?;
            // SAFETY: As the C header says, this is an open file, and the reference is ours. Nobody
            // uses its position, because no file descriptor refers to it.
            Ok(unsafe { ARef::from_raw(file.cast::<File>()) })
        })?
    }

    /// Calls `can_finish`. `status` is `retrieve_status` of the C header.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn can_finish(&self, data: u64, status: c_int, file: Option<&File>) -> bool {
        let answer = self.gate.call(|handler| {
            let mut args = self.args(handler);
            args.serialized_data = data;
            args.retrieve_status = status;
            args.file = file.map_or(null_mut(), |file| file.as_ptr());
            self.ops
                .can_finish
                // SAFETY: The gate is open, so that the callback and its handler are valid. The file
                // is open, or null.
                .is_none_or(|callback| unsafe { callback(&mut args) })
        });
        answer.unwrap_or(true)
    }

    /// Calls `finish`. `status` is `retrieve_status` of the C header. `ENODEV` if the handler is gone.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn finish(&self, data: u64, status: c_int, file: Option<&File>) -> Result {
        self.gate.call(|handler| {
            let mut args = self.args(handler);
            args.serialized_data = data;
            args.retrieve_status = status;
            args.file = file.map_or(null_mut(), |file| file.as_ptr());
            if let Some(callback) = self.ops.finish {
                // SAFETY: The gate is open, so that the callback and its handler are valid. The file
                // is open, or null.
                unsafe { callback(&mut args) };
            }
        })
    }
}

/// A file that a handler of another module has preserved. Dropping it calls `unpreserve`.
///
/// # Invariants
///
/// `private_data` is what `preserve` of `handler` has set for `file`.
pub(crate) struct PreservedFile {
    handler: Arc<FileHandler>,
    file: ARef<File>,
    data: u64,
    private_data: *mut c_void,
}

// SAFETY: The pointer is only given to callbacks, which any thread may call.
unsafe impl Send for PreservedFile {}

impl PreservedFile {
    /// Calls `preserve`: its errors, `ENODEV` if the handler is gone, `EIO` if it returns nonsense.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn new(handler: Arc<FileHandler>, file: ARef<File>) -> Result<Self> {
        let args = handler.gate.call(|pointer| {
            let mut args = handler.args(pointer);
            args.file = file.as_ptr();
            let callback = handler.ops.preserve.ok_or(ENODEV)?;
            // SAFETY: The gate is open, so that the callback and its handler are valid. The file is
            // open.
            checked(&handler.name, "preserve", unsafe { callback(&mut args) })?;
            Ok::<_, Error>(args)
        })??;
        // INVARIANT: `preserve` has set it.
        Ok(Self {
            handler,
            file,
            data: args.serialized_data,
            private_data: args.private_data,
        })
    }

    /// What the next kernel is told about the file.
    pub(crate) fn data(&self) -> u64 {
        self.data
    }

    /// What all callbacks for an outgoing file get.
    fn args(&self, handler: *mut bindings::liveupdate_file_handler) -> liveupdate_file_op_args {
        liveupdate_file_op_args {
            file: self.file.as_ptr(),
            serialized_data: self.data,
            private_data: self.private_data,
            ..self.handler.args(handler)
        }
    }

    /// Calls `freeze`, which may change the data: its errors, `ENODEV` if the handler is gone, `EIO`
    /// if it returns nonsense.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn freeze(&mut self) -> Result {
        let data = self.handler.gate.call(|handler| {
            let mut args = self.args(handler);
            if let Some(callback) = self.handler.ops.freeze {
                // SAFETY: The gate is open, so that the callback and its handler are valid. By the
                // type invariants so are the file and the private data.
                checked(&self.handler.name, "freeze", unsafe { callback(&mut args) })?;
            }
            Ok::<_, Error>(args.serialized_data)
        })??;
        self.data = data;
        Ok(())
    }

    /// Calls `unfreeze`.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn unfreeze(&mut self) {
        let _ = self.handler.gate.call(|handler| {
            if let Some(callback) = self.handler.ops.unfreeze {
                // SAFETY: As in `freeze()`.
                unsafe { callback(&mut self.args(handler)) };
            }
        });
    }
}

impl Drop for PreservedFile {
    fn drop(&mut self) {
        let called = self.handler.gate.call(|handler| {
            if let Some(callback) = self.handler.ops.unpreserve {
                // SAFETY: As in `freeze()`. The private data is not used afterwards.
                unsafe { callback(&mut self.args(handler)) };
            }
        });
        if called.is_err() {
            pr_err!(
                "handler {} is gone: a file stays as it preserved it\n",
                self.handler.compatible()
            );
        }
    }
}
