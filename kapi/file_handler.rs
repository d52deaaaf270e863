// SPDX-License-Identifier: GPL-2.0-only

//! `struct liveupdate_file_handler`: a handler that another module has registered, and its callbacks.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use core::{
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    }, //
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
    gate::{
        Gate,
        Key, //
    },
    session_files::{
        IncomingFiles,
        OutgoingFiles, //
    },
    session_ref::{
        Args,
        SessionRef, //
    }, //
};

/// A handler of another module.
///
/// # Invariants
///
/// `ops` are the callbacks of the value behind `gate`. None of the required ones is missing.
#[pin_data]
pub(crate) struct FileHandler {
    #[pin]
    gate: Gate<bindings::liveupdate_file_handler>,
    ops: liveupdate_file_ops,
}

// SAFETY: Besides the gate, which is `Send`, it consists of pointers to functions that any thread may
// call, by the requirements of `FileHandler::new()`.
unsafe impl Send for FileHandler {}
// SAFETY: As above, at once.
unsafe impl Sync for FileHandler {}

/// What identifies a handler.
pub(crate) type HandlerKey = Key<bindings::liveupdate_file_handler>;

impl Deref for FileHandler {
    type Target = Gate<bindings::liveupdate_file_handler>;

    fn deref(&self) -> &Self::Target {
        &self.gate
    }
}

impl FileHandler {
    /// `EINVAL` if a required callback or the owner is missing, or if the name is empty, has no end or
    /// is not UTF-8; `ENOMEM`.
    ///
    /// # Safety
    ///
    /// - `handler` is valid, and with it everything it refers to, until [`Gate::close`] has returned.
    /// - The callbacks do what the C header says, and any thread may call them, also several at once.
    pub(super) unsafe fn new(
        handler: NonNull<bindings::liveupdate_file_handler>,
    ) -> Result<Arc<Self>> {
        // SAFETY: By the requirements of this function it is valid.
        let handler_ref = unsafe { handler.as_ref() };
        // SAFETY: By the requirements of this function they are valid, or there are none.
        let ops = *unsafe { handler_ref.ops.as_ref() }.ok_or(EINVAL)?;
        let complete = ops.can_preserve.is_some()
            && ops.preserve.is_some()
            && ops.unpreserve.is_some()
            && ops.retrieve.is_some()
            && ops.finish.is_some();
        if !complete {
            return Err(EINVAL);
        }
        // SAFETY: By the requirements of this function. A module is not freed as long as something of
        // it is registered.
        let gate = unsafe { Gate::new(handler, ops.owner, &handler_ref.compatible) }?;
        // INVARIANT: The callbacks were copied, and the required ones are there.
        Arc::pin_init(pin_init!(Self { gate <- gate, ops }), GFP_KERNEL)
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
    pub(crate) fn retrieve(&self, data: u64, session: &dyn IncomingFiles) -> Result<ARef<File>> {
        self.gate.call(|handler| {
            let mut args = Args::new(self.args(handler), SessionRef::Incoming(session));
            args.c.serialized_data = data;
            let callback = self.ops.retrieve.ok_or(ENODEV)?;
            // SAFETY: The gate is open, so that the callback and its handler are valid.
            self.checked("retrieve", unsafe { callback(args.as_mut_ptr()) })?;
            let address = args.c.file as isize;
            let file = NonNull::new(args.c.file).filter(|_| !(-4095..0).contains(&address));
            let file = file.ok_or(EIO).inspect_err(|_| {
                pr_err!("handler {}: retrieve returned no file\n", self.compatible());
            })?;
            // SAFETY: As the C header says, this is an open file, and the reference is ours. Nobody
            // uses its position, because no file descriptor refers to it.
            Ok(unsafe { ARef::from_raw(file.cast::<File>()) })
        })?
    }

    /// What `can_finish` and `finish` get.
    fn finish_args(
        &self,
        handler: *mut bindings::liveupdate_file_handler,
        data: u64,
        status: c_int,
        file: Option<&File>,
    ) -> Args<'static> {
        let args = liveupdate_file_op_args {
            serialized_data: data,
            retrieve_status: status,
            file: file.map_or(null_mut(), |file| file.as_ptr()),
            ..self.args(handler)
        };
        Args::new(args, SessionRef::None)
    }

    /// Calls `can_finish`. `status` is `retrieve_status` of the C header.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn can_finish(&self, data: u64, status: c_int, file: Option<&File>) -> bool {
        let answer = self.gate.call(|handler| {
            let mut args = self.finish_args(handler, data, status, file);
            self.ops
                .can_finish
                // SAFETY: The gate is open, so that the callback and its handler are valid. The file
                // is open, or null.
                .is_none_or(|callback| unsafe { callback(args.as_mut_ptr()) })
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
            let mut args = self.finish_args(handler, data, status, file);
            if let Some(callback) = self.ops.finish {
                // SAFETY: The gate is open, so that the callback and its handler are valid. The file
                // is open, or null.
                unsafe { callback(args.as_mut_ptr()) };
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
    pub(crate) fn new(
        handler: Arc<FileHandler>,
        file: ARef<File>,
        session: &dyn OutgoingFiles,
    ) -> Result<Self> {
        let args = handler.gate.call(|pointer| {
            let mut args = Args::new(handler.args(pointer), SessionRef::Outgoing(session));
            args.c.file = file.as_ptr();
            let callback = handler.ops.preserve.ok_or(ENODEV)?;
            // SAFETY: The gate is open, so that the callback and its handler are valid. The file is
            // open.
            handler.checked("preserve", unsafe { callback(args.as_mut_ptr()) })?;
            Ok::<_, Error>(args.c)
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
    fn args<'a>(
        &self,
        handler: *mut bindings::liveupdate_file_handler,
        session: SessionRef<'a>,
    ) -> Args<'a> {
        let args = liveupdate_file_op_args {
            file: self.file.as_ptr(),
            serialized_data: self.data,
            private_data: self.private_data,
            ..self.handler.args(handler)
        };
        Args::new(args, session)
    }

    /// Calls `freeze`, which may change the data: its errors, `ENODEV` if the handler is gone, `EIO`
    /// if it returns nonsense.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn freeze(&mut self, session: &dyn OutgoingFiles) -> Result {
        let data = self.handler.gate.call(|handler| {
            let mut args = self.args(handler, SessionRef::Outgoing(session));
            if let Some(callback) = self.handler.ops.freeze {
                // SAFETY: The gate is open, so that the callback and its handler are valid. By the
                // type invariants so are the file and the private data.
                let returned = unsafe { callback(args.as_mut_ptr()) };
                self.handler.checked("freeze", returned)?;
            }
            Ok::<_, Error>(args.c.serialized_data)
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
                let mut args = self.args(handler, SessionRef::None);
                // SAFETY: As in `freeze()`.
                unsafe { callback(args.as_mut_ptr()) };
            }
        });
    }
}

impl Drop for PreservedFile {
    fn drop(&mut self) {
        let called = self.handler.gate.call(|handler| {
            if let Some(callback) = self.handler.ops.unpreserve {
                let mut args = self.args(handler, SessionRef::None);
                // SAFETY: As in `freeze()`. The private data is not used afterwards.
                unsafe { callback(args.as_mut_ptr()) };
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
