// SPDX-License-Identifier: GPL-2.0-only

//! Registering a handler: an adapter from [`FileHandler`] to `struct liveupdate_file_handler`.
//!
//! The orchestrator keeps a pointer to that structure, and may go on to use it for files that it has
//! after the handler was unregistered. So it is in a `static`, as in C, which is valid as long as the
//! module is loaded. The module stays loaded as long as it has files, because it is the owner of the
//! callbacks.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        }, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

use super::{
    bindings::{
        self,
        liveupdate_file_handler,
        liveupdate_file_op_args,
        liveupdate_file_ops, //
    },
    session::Session, //
    Damage,
    Failure,
    FileHandler,
    Handover,
    Kho,
    Outcome,
    PreservedFile,
};

/// A handler that can be registered, once.
///
/// `get_id` of C is not told which handler it belongs to. So `H` must be a type without content, which
/// is checked at build time. What a handler keeps is in a `static`, or in the files.
pub(crate) struct Handler<H> {
    /// Proves that there is a value of the type.
    handler: H,
    /// What the orchestrator knows.
    raw: Opaque<liveupdate_file_handler>,
    /// 1 as soon as somebody has tried to register it.
    taken: Atomic<i32>,
}

// SAFETY: A shared reference leads to `H`, which is `Sync`, and to `raw`, which is only written by the
// one caller that has changed `taken`, before it passes `raw` to the orchestrator.
unsafe impl<H: FileHandler> Sync for Handler<H> {}

impl<H: FileHandler> Handler<H> {
    /// A handler that is not registered.
    pub(crate) const fn new(handler: H) -> Self {
        const { assert!(size_of::<H>() == 0, "a handler has no content") };
        Self {
            handler,
            raw: Opaque::uninit(),
            taken: Atomic::new(0),
        }
    }
}

/// A handler that is registered until this is dropped, which must happen before the module is unloaded:
/// it is a field of the module's own type. As with all registrations of the kernel crate, nothing
/// prevents a module from forgetting it.
pub(crate) struct Registration<H: FileHandler>(&'static Handler<H>);

impl<H: FileHandler> Registration<H> {
    /// Registers a handler: files are preserved, and those of the previous kernel are retrieved, from
    /// now on.
    ///
    /// `EBUSY` if that was tried before, `EINVAL` if the name is empty, too long or has a NUL, `EEXIST`
    /// if another handler has it, `EOPNOTSUPP` if there is no orchestrator, `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context; sleeps. Not from within a callback.
    pub(crate) fn new(handler: &'static Handler<H>) -> Result<Self> {
        if handler.taken.xchg(1, Relaxed) != 0 {
            return Err(EBUSY);
        }
        let mut raw = liveupdate_file_handler {
            ops: Callbacks::<H>::TABLE,
            ..Default::default()
        };
        let name = handler.handler.compatible().as_bytes();
        // The last byte stays NUL.
        let (_, field) = raw.compatible.split_last_mut().ok_or(EINVAL)?;
        let field = field.get_mut(..name.len()).ok_or(EINVAL)?;
        if name.is_empty() || name.contains(&0) {
            return Err(EINVAL);
        }
        field.copy_from_slice(name);
        // SAFETY: By the exchange this is the only access, and it comes before the orchestrator gets
        // the pointer. The pointer is that of a static, valid for writes by `Opaque`.
        unsafe { handler.raw.get().write(raw) };
        // SAFETY: The structure is initialized. It, its callbacks and the module that is their owner
        // are static: valid until the module is unloaded, and before that `drop()` unregisters it. The
        // callbacks do what the header says, and any thread may call them: `H` is `Sync`, what
        // `preserve` returns is `Send`.
        to_result(unsafe { bindings::liveupdate_register_file_handler(handler.raw.get()) })?;
        Ok(Self(handler))
    }
}

impl<H: FileHandler> Drop for Registration<H> {
    fn drop(&mut self) {
        // SAFETY: `new()` has registered it, and only this unregisters it.
        unsafe { bindings::liveupdate_unregister_file_handler(self.0.raw.get()) };
    }
}

/// `EOPNOTSUPP`, which the kernel crate does not name in every version.
pub(crate) fn eopnotsupp() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

impl Failure {
    /// The error that the user gets: `EIO` for damage.
    fn errno(self) -> Error {
        match self {
            Self::Damaged(_) => EIO,
            Self::Error(err) => err,
        }
    }
}

/// The callbacks of a handler.
struct Callbacks<H>(PhantomData<H>);

impl<H: FileHandler> Callbacks<H> {
    const TABLE: &'static liveupdate_file_ops = &liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve),
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        freeze: Some(Self::freeze),
        unfreeze: Some(Self::unfreeze),
        retrieve: Some(Self::retrieve),
        can_finish: Some(Self::can_finish),
        finish: Some(Self::finish),
        get_id: Some(Self::get_id),
        owner: &raw mut bindings::__this_module,
    };

    /// The handler whose callbacks these are.
    fn handler() -> &'static H {
        const { assert!(size_of::<H>() == 0) };
        // SAFETY: A reference to a type without content needs no memory but a pointer that is aligned
        // and not null. There is a value of the type: callbacks are called after one was registered,
        // in a static `Handler<H>`.
        unsafe { NonNull::<H>::dangling().as_ref() }
    }

    /// # Safety
    ///
    /// `file` is open until this has returned.
    unsafe extern "C" fn can_preserve(
        _handler: *mut liveupdate_file_handler,
        file: *mut bindings::file,
    ) -> bool {
        // SAFETY: By the requirement the file is open. The orchestrator has got it from a file
        // descriptor in an ioctl, which uses no file position, and holds a reference of its own.
        Self::handler().accepts(unsafe { File::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// `file` is open until this has returned.
    unsafe extern "C" fn get_id(file: *mut bindings::file) -> c_ulong {
        // SAFETY: As in `can_preserve()`, or `retrieve()` has made the file.
        Self::handler().id(unsafe { File::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// - The orchestrator calls this, with arguments that it has made.
    /// - `args` can be read and written, nobody else does it, and `file` of it is open.
    unsafe extern "C" fn preserve(args: *mut liveupdate_file_op_args) -> c_int {
        // SAFETY: By the first requirement. The session is not used after this has returned.
        let session = unsafe { Session::of(args) };
        // SAFETY: By the requirements of this function.
        let args = unsafe { &mut *args };
        from_result(|| {
            let kho = Kho::get().ok_or_else(eopnotsupp)?;
            // SAFETY: As in `can_preserve()`.
            let file = ARef::from(unsafe { File::from_raw_file(args.file) });
            let preserved = Self::handler().preserve(kho, file, &session)?;
            args.serialized_data = preserved.data();
            args.private_data = preserved.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - `args` can be read.
    /// - `private_data` of it is what [`Callbacks::preserve`] has set, and is not used again.
    unsafe extern "C" fn unpreserve(args: *mut liveupdate_file_op_args) {
        // SAFETY: By the requirements `args` is valid, the pointer came from `into_foreign()` of this
        // type, and this is the only call that takes it back.
        drop(unsafe { <KBox<H::Preserved>>::from_foreign((*args).private_data) });
    }

    /// # Safety
    ///
    /// - The orchestrator calls this, with arguments that it has made.
    /// - `args` can be read and written, nobody else does it.
    /// - `private_data` of it is what [`Callbacks::preserve`] has set. No other callback for this file
    ///   is called until this has returned.
    unsafe extern "C" fn freeze(args: *mut liveupdate_file_op_args) -> c_int {
        // SAFETY: By the first requirement. The session is not used after this has returned.
        let session = unsafe { Session::of(args) };
        // SAFETY: By the requirements of this function.
        let args = unsafe { &mut *args };
        // SAFETY: By the requirements the pointer came from `into_foreign()` of this type, was not
        // taken back, and nobody else borrows it.
        let preserved = unsafe { <KBox<H::Preserved>>::borrow_mut(args.private_data) };
        from_result(|| {
            preserved.freeze(&session)?;
            args.serialized_data = preserved.data();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As [`Callbacks::freeze`].
    unsafe extern "C" fn unfreeze(args: *mut liveupdate_file_op_args) {
        // SAFETY: As in `freeze()`.
        unsafe { <KBox<H::Preserved>>::borrow_mut((*args).private_data) }.unfreeze();
    }

    /// # Safety
    ///
    /// - The orchestrator calls this, with arguments that it has made.
    /// - `args` can be read and written, nobody else does it.
    unsafe extern "C" fn retrieve(args: *mut liveupdate_file_op_args) -> c_int {
        // SAFETY: By the first requirement. The session is not used after this has returned.
        let session = unsafe { Session::of(args) };
        // SAFETY: By the requirements of this function.
        let args = unsafe { &mut *args };
        from_result(|| {
            let handover = Handover::new();
            let file = Self::handler().retrieve(&handover, args.serialized_data, &session);
            let file = file.map_err(|failure| {
                if let Failure::Damaged(why) = &failure {
                    Self::report(why);
                }
                failure.errno()
            })?;
            // The orchestrator becomes the owner of the reference.
            args.file = ARef::into_raw(file).as_ptr().cast();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - `args` can be read.
    /// - If its `retrieve_status` is positive, its `file` is the file that [`Callbacks::retrieve`] has
    ///   made, and is open until this has returned.
    unsafe extern "C" fn can_finish(args: *mut liveupdate_file_op_args) -> bool {
        // SAFETY: By the requirements of this function.
        let args = unsafe { &*args };
        // SAFETY: As above.
        let outcome = unsafe { outcome(args) };
        Self::handler().can_finish(args.serialized_data, outcome)
    }

    /// # Safety
    ///
    /// As [`Callbacks::can_finish`].
    unsafe extern "C" fn finish(args: *mut liveupdate_file_op_args) {
        // SAFETY: By the requirements of this function.
        let args = unsafe { &*args };
        // SAFETY: As above.
        let outcome = unsafe { outcome(args) };
        let finished = Self::handler().finish(&Handover::new(), args.serialized_data, outcome);
        if let Err(why) = finished {
            Self::report(&why);
        }
    }

    fn report(why: &Damage) {
        let name = Self::handler().compatible();
        pr_err!("a {name} file from the previous kernel is damaged: {why}\n");
    }
}

/// What has become of a file of the previous kernel.
///
/// # Safety
///
/// As [`Callbacks::can_finish`], until `'a` ends.
unsafe fn outcome<'a>(args: &liveupdate_file_op_args) -> Outcome<'a> {
    match args.retrieve_status {
        0 => Outcome::Pending,
        status if status < 0 => Outcome::Failed(Error::from_errno(status)),
        // SAFETY: By the requirements it is open. No call uses its position without the lock: the
        // orchestrator holds a reference besides those of file descriptors.
        _ => Outcome::Retrieved(unsafe { File::from_raw_file(args.file) }),
    }
}
