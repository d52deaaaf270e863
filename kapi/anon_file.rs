// SPDX-License-Identifier: GPL-2.0-only

//! Open files without a name in any file system, with operations written in Rust.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)

use core::marker::PhantomData;

use kernel::{
    bindings as kernel_bindings,
    error::from_err_ptr,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    fmt,
    fs::{
        file::flags,
        File, //
    },
    prelude::*,
    seq_file::SeqFile,
    str::CStr,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::ForeignOwnable, //
};

use super::{
    bindings,
    ioctl::Ioctl,
    module::Entered, //
};

/// What such a file does. The open file holds a reference to a value of the type.
pub(crate) trait AnonFile: Sized + Send + Sync + 'static {
    /// `ioctl(2)`, which returns 0 or an error.
    fn ioctl(&self, call: &Ioctl<'_>) -> Result;

    /// What `/proc/<pid>/fdinfo/<fd>` shows.
    ///
    /// # Context
    ///
    /// Process context; may sleep. If the output does not fit, it is called again with more room.
    fn show_fdinfo(&self, to: &FdInfo<'_>);

    /// The last reference to the file is gone. If the file was not installed in any table of file
    /// descriptors, its user has never seen it.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn release(self: Arc<Self>, entered: &Entered<'_>);
}

/// Makes an open file, which `/proc/<pid>/fd` shows as `anon_inode:NAME`.
///
/// If that fails (`ENFILE`, `ENOMEM`), `value` is dropped without [`AnonFile::release`].
///
/// # Context
///
/// Process context; sleeps.
pub(crate) fn open<T: AnonFile>(name: &CStr, value: Arc<T>) -> Result<ARef<File>> {
    let private = value.into_foreign();
    // SAFETY:
    // - `name` is a C string, which is copied.
    // - The operations are static, and those of a file whose private data is an `Arc<T>`.
    // - `private` is such an `Arc<T>`, of which the file becomes the owner.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile(
            name.as_char_ptr(),
            Operations::<T>::TABLE,
            private.cast(),
            flags::O_RDWR as c_int,
        )
    });
    let file = file.and_then(|file| core::ptr::NonNull::new(file).ok_or(ENOMEM));
    match file {
        // SAFETY: A new file has one reference, which becomes ours. It is in no table of file
        // descriptors yet, so that no `fdget_pos()` of it is active.
        Ok(file) => Ok(unsafe { ARef::from_raw(file.cast()) }),
        Err(err) => {
            // SAFETY: The pointer came from `into_foreign()` above, and no file has become its
            // owner.
            drop(unsafe { <Arc<T> as ForeignOwnable>::from_foreign(private) });
            Err(err)
        }
    }
}

/// Where [`AnonFile::show_fdinfo`] writes to, with [`seq_print!`](kernel::seq_print).
///
/// # Invariants
///
/// `raw` is the `struct seq_file` that `file` refers to.
pub(crate) struct FdInfo<'a> {
    file: &'a SeqFile,
    raw: *mut kernel_bindings::seq_file,
}

impl FdInfo<'_> {
    /// Called by [`seq_print!`](kernel::seq_print).
    pub(crate) fn call_printf(&self, args: fmt::Arguments<'_>) {
        self.file.call_printf(args);
    }

    /// Whether something did not fit. The kernel will ask for all of it again, with a larger
    /// buffer; writing any more now is in vain.
    pub(crate) fn is_full(&self) -> bool {
        // SAFETY: By the type invariant `raw` is valid, and only this thread has access to it. This
        // is what `seq_has_overflowed()` does, an inline function.
        unsafe { (*self.raw).count == (*self.raw).size }
    }
}

struct Operations<T>(PhantomData<T>);

impl<T: AnonFile> Operations<T> {
    const TABLE: &'static kernel_bindings::file_operations = &kernel_bindings::file_operations {
        // An open file holds a reference to the owner, until after `release` has returned.
        owner: &raw mut bindings::__this_module,
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::ioctl),
        // The structures are laid out for a 32-bit caller too.
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: kernel_bindings::compat_ptr_ioctl,
        show_fdinfo: Some(Self::show_fdinfo),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// - `file` was made by [`open`] for the same `T`, and is not used again.
    /// - The caller holds a reference to the owner of the operations until this has returned.
    unsafe extern "C" fn release(
        _inode: *mut kernel_bindings::inode,
        file: *mut kernel_bindings::file,
    ) -> c_int {
        // SAFETY: By the requirements the private data is that of `open`, and this is the only call
        // that takes it.
        let value = unsafe { <Arc<T> as ForeignOwnable>::from_foreign((*file).private_data) };
        // SAFETY: By the requirements, and because this is called from outside of the module.
        let entered = unsafe { Entered::new() };
        value.release(&entered);
        0
    }

    /// # Safety
    ///
    /// `file` was made by [`open`] for the same `T`, and the caller, `ioctl(2)`, holds a reference
    /// to it until this has returned.
    unsafe extern "C" fn ioctl(
        file: *mut kernel_bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: By the requirements the private data is that of `open`, and is not released
        // before this has returned.
        let value = unsafe { <Arc<T> as ForeignOwnable>::borrow((*file).private_data) };
        // SAFETY: This is the ioctl operation of such a file, and `call` ends before it returns.
        let call = unsafe { Ioctl::new(cmd, arg) };
        match value.ioctl(&call) {
            Ok(()) => 0,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// - `file` was made by [`open`] for the same `T`, and the caller holds a reference to it until
    ///   this has returned.
    /// - `to` is a valid `struct seq_file` that no other thread has access to meanwhile.
    unsafe extern "C" fn show_fdinfo(
        to: *mut kernel_bindings::seq_file,
        file: *mut kernel_bindings::file,
    ) {
        // SAFETY: By the requirements the private data is that of `open`, and is not released
        // before this has returned.
        let value = unsafe { <Arc<T> as ForeignOwnable>::borrow((*file).private_data) };
        // INVARIANT: Both are `to`.
        let to = FdInfo {
            // SAFETY: By the requirements `to` is valid, and this thread's alone.
            file: unsafe { SeqFile::from_raw(to) },
            raw: to,
        };
        value.show_fdinfo(&to);
    }
}
