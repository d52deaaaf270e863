// SPDX-License-Identifier: GPL-2.0-only

//! Files without a name in any file system, with operations written in Rust.

use kernel::{
    bindings as kernel_bindings,
    error::from_err_ptr,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    fs::File,
    prelude::*,
    seq_file::SeqFile,
    str::CStr,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::ForeignOwnable, //
};

/// What such a file does. The open file holds a reference to a value of the type.
pub(crate) trait AnonFile: Sized + Send + Sync + 'static {
    /// `ioctl(2)`.
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize>;

    /// What `/proc/<pid>/fdinfo/<fd>` shows.
    fn show_fdinfo(&self, to: &SeqFile);

    /// The last reference is gone. The file was never seen by its user if it was not installed.
    fn release(self: Arc<Self>);
}

/// Makes an open file, which can be found as `anon_inode:NAME` in `/proc/<pid>/fd`.
///
/// If that fails, `value` is dropped without [`AnonFile::release`].
pub(crate) fn open<T: AnonFile>(name: &CStr, value: Arc<T>) -> Result<ARef<File>> {
    let private = value.into_foreign();
    // SAFETY: The name is a string that is copied, the operations are static, and expect an
    // `Arc<T>` as private data.
    let file = from_err_ptr(unsafe {
        super::bindings::anon_inode_getfile(
            name.as_char_ptr(),
            Operations::<T>::TABLE,
            private.cast(),
            kernel_bindings::O_RDWR as c_int,
        )
    });
    match file {
        // SAFETY: A new file has one reference, which is ours, and nobody uses its position yet.
        Ok(file) => Ok(unsafe { ARef::from_raw(core::ptr::NonNull::new_unchecked(file.cast())) }),
        Err(err) => {
            // SAFETY: The pointer came from `into_foreign` above, and there is no file to use it.
            drop(unsafe { <Arc<T> as ForeignOwnable>::from_foreign(private) });
            Err(err)
        }
    }
}

struct Operations<T>(core::marker::PhantomData<T>);

impl<T: AnonFile> Operations<T> {
    const TABLE: &'static kernel_bindings::file_operations = &kernel_bindings::file_operations {
        owner: &raw mut super::bindings::__this_module,
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
    /// `file` must have been made by [`open`] for the same `T`, and must not be used again.
    unsafe extern "C" fn release(
        _inode: *mut kernel_bindings::inode,
        file: *mut kernel_bindings::file,
    ) -> c_int {
        // SAFETY: The private data is that of `open`, and the file ends here.
        let value = unsafe { <Arc<T> as ForeignOwnable>::from_foreign((*file).private_data) };
        value.release();
        0
    }

    /// # Safety
    ///
    /// `file` must have been made by [`open`] for the same `T`, and stay open during the call.
    unsafe extern "C" fn ioctl(
        file: *mut kernel_bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: The private data is that of `open`, and lives as long as the file.
        let value = unsafe { <Arc<T> as ForeignOwnable>::borrow((*file).private_data) };
        match value.ioctl(cmd, arg) {
            Ok(result) => result as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// As for `ioctl`, and `to` must be a valid `struct seq_file` that can be written to.
    unsafe extern "C" fn show_fdinfo(
        to: *mut kernel_bindings::seq_file,
        file: *mut kernel_bindings::file,
    ) {
        // SAFETY: The private data is that of `open`, and lives as long as the file.
        let value = unsafe { <Arc<T> as ForeignOwnable>::borrow((*file).private_data) };
        // SAFETY: The caller gives a valid `struct seq_file`.
        value.show_fdinfo(unsafe { SeqFile::from_raw(to) });
    }
}
