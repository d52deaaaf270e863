// SPDX-License-Identifier: GPL-2.0-only

//! The functions of `<linux/liveupdate.h>` and `include/liveupdate_ext.h` for other modules.
//!
//! `exports.c` exports them. The first header is the kernel's own. What they mean is described there,
//! and in `docs/handlers.md` where that is silent.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use core::ptr::NonNull;

use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_void, //
    },
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        global_lock,
        Arc, //
    }, //
};

use super::{
    bindings::{
        self,
        liveupdate_file_handler,
        liveupdate_file_op_args,
        liveupdate_flb,
        liveupdate_session, //
    },
    error::eopnotsupp,
    file_handler::{
        FileHandler,
        HandlerKey, //
    },
    flb::{
        FlbKey,
        ForeignFlb,
        Object, //
    },
    gate::Key,
    session_ref::{
        Args,
        SessionRef, //
    }, //
};

/// What other modules can ask for. The errors are those that the C header names.
pub(crate) trait HandlerApi: Send + Sync {
    /// `liveupdate_register_file_handler()`.
    fn register_handler(&self, handler: Arc<FileHandler>) -> Result;

    /// `liveupdate_unregister_file_handler()`: nothing uses the handler when it returns.
    fn unregister_handler(&self, handler: HandlerKey);

    /// `liveupdate_register_flb()`.
    fn register_flb(&self, handler: HandlerKey, flb: NewFlb<'_>) -> Result;

    /// `liveupdate_unregister_flb()`.
    fn unregister_flb(&self, handler: HandlerKey, flb: FlbKey);

    /// `liveupdate_flb_get_incoming()`.
    fn get_incoming(&self, flb: NewFlb<'_>) -> Result<Object>;

    /// `liveupdate_flb_put_incoming()`.
    fn put_incoming(&self, flb: FlbKey);

    /// `liveupdate_flb_get_outgoing()`.
    fn get_outgoing(&self, flb: FlbKey) -> Result<Object>;

    /// `liveupdate_flb_put_outgoing()`.
    fn put_outgoing(&self, flb: FlbKey);
}

/// An FLB that another module names, maybe for the first time.
///
/// # Invariants
///
/// The pointer fulfills the requirements of [`ForeignFlb::new`].
pub(crate) struct NewFlb<'a>(NonNull<liveupdate_flb>, core::marker::PhantomData<&'a ()>);

impl NewFlb<'_> {
    /// What identifies it.
    pub(crate) fn key(&self) -> FlbKey {
        Key::of(self.0.as_ptr())
    }

    /// See [`ForeignFlb::new`].
    pub(crate) fn init(&self) -> Result<impl PinInit<ForeignFlb>> {
        // SAFETY: By the type invariant.
        unsafe { ForeignFlb::new(self.0) }
    }
}

global_lock! {
    // SAFETY: `Registration::new` initializes it, once. Other modules can call the functions below only
    // after the module was initialized, of which that is a part.
    unsafe(uninit) static API: Mutex<Option<Arc<dyn HandlerApi>>> = None;
}

/// Whether `API` is initialized: 0 or 1.
static INITIALIZED: Atomic<i32> = Atomic::new(0);

/// Answers other modules until it is dropped.
pub(crate) struct Registration(());

impl Registration {
    /// Lets `api` answer. `EBUSY` if another one has been registered since the module was loaded.
    ///
    /// # Context
    ///
    /// Process context.
    pub(crate) fn new(api: Arc<dyn HandlerApi>) -> Result<Self> {
        if INITIALIZED.xchg(1, Relaxed) != 0 {
            return Err(EBUSY);
        }
        // SAFETY: By the exchange this is the only time. Nobody locks it before this function has
        // returned: other modules wait until this one is initialized.
        unsafe { API.init() };
        *API.lock() = Some(api);
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let api = API.lock().take();
        drop(api);
    }
}

/// Calls `call`, or returns `EOPNOTSUPP` if nobody answers: the module's initialization has failed.
fn with_api<R>(call: impl FnOnce(&dyn HandlerApi) -> Result<R>) -> Result<R> {
    let api = API.lock().clone().ok_or_else(eopnotsupp)?;
    call(&*api)
}

/// Defines functions that other modules call, and compares each with the declaration in the header.
macro_rules! export {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        #[no_mangle]
        unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? $body

        const _: () = {
            let _ = [bindings::$name, $name];
        };
    )*};
}

export! {
    /// Whether the orchestrator works: as long as this module is loaded, it does.
    ///
    /// # Safety
    ///
    /// There are no requirements.
    fn liveupdate_enabled() -> bool {
        true
    }

    /// # Safety
    ///
    /// - `handler` fulfills the requirements of [`FileHandler::new`] until it is unregistered.
    fn liveupdate_register_file_handler(handler: *mut liveupdate_file_handler) -> c_int {
        from_result(|| {
            let handler = NonNull::new(handler).ok_or(EINVAL)?;
            // SAFETY: By the requirements of this function.
            let handler = unsafe { FileHandler::new(handler) }?;
            with_api(|api| api.register_handler(handler)).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// There are no requirements: a handler that is not registered is ignored.
    fn liveupdate_unregister_file_handler(handler: *mut liveupdate_file_handler) {
        let _ = with_api(|api| {
            api.unregister_handler(Key::of(handler));
            Ok(())
        });
    }

    /// # Safety
    ///
    /// - `flb` fulfills the requirements of [`ForeignFlb::new`] until it is unregistered.
    fn liveupdate_register_flb(
        handler: *mut liveupdate_file_handler,
        flb: *mut liveupdate_flb
    ) -> c_int {
        from_result(|| {
            let flb = NonNull::new(flb).ok_or(EINVAL)?;
            // INVARIANT: By the requirements of this function.
            let flb = NewFlb(flb, core::marker::PhantomData);
            with_api(|api| api.register_flb(Key::of(handler), flb)).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// There are no requirements: an FLB that is not registered is ignored.
    fn liveupdate_unregister_flb(
        handler: *mut liveupdate_file_handler,
        flb: *mut liveupdate_flb
    ) {
        let _ = with_api(|api| {
            api.unregister_flb(Key::of(handler), Key::of(flb));
            Ok(())
        });
    }

    /// # Safety
    ///
    /// - `flb` fulfills the requirements of [`ForeignFlb::new`], until it is put as often as it was
    ///   got, or for good if its files are not finished then.
    /// - `object` can be written.
    fn liveupdate_flb_get_incoming(flb: *mut liveupdate_flb, object: *mut *mut c_void) -> c_int {
        from_result(|| {
            let flb = NonNull::new(flb).ok_or(EINVAL)?;
            // INVARIANT: By the requirements of this function.
            let flb = NewFlb(flb, core::marker::PhantomData);
            let Object(found) = with_api(|api| api.get_incoming(flb))?;
            // SAFETY: By the requirements of this function.
            unsafe { object.write(found) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// There are no requirements: an FLB that was not got is ignored.
    fn liveupdate_flb_put_incoming(flb: *mut liveupdate_flb) {
        let _ = with_api(|api| {
            api.put_incoming(Key::of(flb));
            Ok(())
        });
    }

    /// # Safety
    ///
    /// - `object` can be written.
    fn liveupdate_flb_get_outgoing(flb: *mut liveupdate_flb, object: *mut *mut c_void) -> c_int {
        from_result(|| {
            let Object(found) = with_api(|api| api.get_outgoing(Key::of(flb)))?;
            // SAFETY: By the requirements of this function.
            unsafe { object.write(found) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// There are no requirements: an FLB that was not got is ignored.
    fn liveupdate_flb_put_outgoing(flb: *mut liveupdate_flb) {
        let _ = with_api(|api| {
            api.put_outgoing(Key::of(flb));
            Ok(())
        });
    }

    /// # Safety
    ///
    /// - `args` is what a callback of a handler got from this module, and that callback has not
    ///   returned.
    fn liveupdate_ext_session(args: *const liveupdate_file_op_args) -> *mut liveupdate_session {
        // SAFETY: By the requirements of this function: all callbacks get theirs from
        // `Args::as_mut_ptr()`.
        unsafe { Args::session_of(args) }
    }

    /// # Safety
    ///
    /// - `session` is what `liveupdate_ext_session()` has returned for a callback that has not
    ///   returned.
    /// - `file` is an open file, and nobody uses its position without the lock for it.
    /// - `token` can be written.
    fn liveupdate_get_token_outgoing(
        session: *mut liveupdate_session,
        file: *mut bindings::file,
        token: *mut u64
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the requirements of this function.
            let file = unsafe { File::from_raw_file(file) };
            // SAFETY: By the requirements of this function.
            let found = unsafe { SessionRef::token_of(session, file) }?;
            // SAFETY: By the requirements of this function.
            unsafe { token.write(found) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - `session` is what `liveupdate_ext_session()` has returned for a callback that has not
    ///   returned.
    /// - `file` can be written.
    fn liveupdate_get_file_incoming(
        session: *mut liveupdate_session,
        token: u64,
        file: *mut *mut bindings::file
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the requirements of this function.
            let found = unsafe { SessionRef::retrieve(session, token) }?;
            // SAFETY: By the requirements of this function. The reference is the caller's now.
            unsafe { file.write(ARef::into_raw(found).as_ptr().cast()) };
            Ok(0)
        })
    }
}
