// SPDX-License-Identifier: GPL-2.0-only

//! Open files without a name in any file system, with a value of a Rust type each.
//!
//! All of them have one table of operations, a `static` of the module. So a file that has this table
//! is one of these, and the value itself knows its type.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)

use core::{
    any::Any,
    ptr::NonNull, //
};

use kernel::{
    bindings as kernel_bindings,
    error::from_err_ptr,
    ffi::c_int,
    fs::{
        file::flags,
        File, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::ForeignOwnable, //
};

use super::bindings;

/// What such a file does.
pub(crate) trait AnonFile: Send + Sync + 'static {
    /// `read(2)`, without a position: these files cannot seek. Returns how many bytes were read.
    /// `EINVAL` by default.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn read(&self, _to: &mut IovIterDest<'_>) -> Result<usize> {
        Err(EINVAL)
    }

    /// `write(2)`. Returns how many bytes were written. `EINVAL` by default.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    fn write(&self, _from: &mut IovIterSource<'_>) -> Result<usize> {
        Err(EINVAL)
    }
}

/// [`AnonFile`] of any type, which can be asked for its type.
trait AnyFile: AnonFile {
    fn as_any(&self) -> &dyn Any;
}

impl<T: AnonFile> AnyFile for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What the private data of such a file is.
type Private = KBox<Arc<dyn AnyFile>>;

/// Makes an open file with the value. `/proc/<pid>/fd` shows it as `anon_inode:NAME`. The module stays
/// loaded as long as it is open. `ENFILE`, `ENOMEM`.
///
/// # Context
///
/// Process context; sleeps.
pub(crate) fn open<T: AnonFile>(name: &CStr, value: Arc<T>) -> Result<ARef<File>> {
    let value: Arc<dyn AnyFile> = value;
    let private = KBox::new(value, GFP_KERNEL)?.into_foreign();
    // SAFETY:
    // - `name` is a C string, which is copied.
    // - The operations are static, and those of a file whose private data is a `Private`.
    // - `private` is such a value, of which the file becomes the owner.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile(
            name.as_char_ptr(),
            &OPERATIONS.0,
            private,
            flags::O_RDWR as c_int,
        )
    });
    match file.and_then(|file| NonNull::new(file).ok_or(ENOMEM)) {
        // SAFETY: A new file has one reference, which becomes ours. It is in no table of file
        // descriptors yet, so nobody uses its position.
        Ok(file) => Ok(unsafe { ARef::from_raw(file.cast()) }),
        Err(err) => {
            // SAFETY: The pointer came from `into_foreign()` above, and no file is its owner.
            drop(unsafe { Private::from_foreign(private) });
            Err(err)
        }
    }
}

/// The value of a file, if [`open`] has made the file and the value is a `T`.
pub(crate) fn value<T: AnonFile>(file: &File) -> Option<&T> {
    // SAFETY: The file is open, and its operations do not change any more.
    if !core::ptr::eq(unsafe { (*file.as_ptr()).f_op }, &OPERATIONS.0) {
        return None;
    }
    // SAFETY: Only `open()` makes files with these operations, so the private data is a `Private`. It
    // stays as long as the file is open, and nobody borrows it mutably.
    let private = unsafe { Private::borrow((*file.as_ptr()).private_data) };
    private.as_any().downcast_ref()
}

/// A table of operations.
struct Operations(kernel_bindings::file_operations);

// SAFETY: Nobody writes to it. It has pointers to functions that any thread may call, and to the
// module, whose reference count any thread may change.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(kernel_bindings::file_operations {
    // An open file holds a reference to the owner, until after `release` has returned.
    owner: &raw mut bindings::__this_module,
    release: Some(release),
    read_iter: Some(read_iter),
    write_iter: Some(write_iter),
    ..pin_init::zeroed()
});

/// # Safety
///
/// [`open`] has made `file`, which is not used again.
unsafe extern "C" fn release(
    _inode: *mut kernel_bindings::inode,
    file: *mut kernel_bindings::file,
) -> c_int {
    // SAFETY: By the requirements the private data is that of `open()`, and this is the only call that
    // takes it.
    drop(unsafe { Private::from_foreign((*file).private_data) });
    0
}

/// The value of the file of a `struct kiocb`.
///
/// # Safety
///
/// `kiocb` is valid until `'a` ends. [`open`] has made its file, which is open until then.
unsafe fn value_of<'a>(kiocb: *mut kernel_bindings::kiocb) -> &'a dyn AnyFile {
    // SAFETY: By the requirements the private data is that of `open()`, and stays as long as the file
    // is open.
    &**unsafe { Private::borrow((*(*kiocb).ki_filp).private_data) }
}

/// # Safety
///
/// - `kiocb` fulfills the requirements of [`value_of`] until this has returned.
/// - `to` is valid, and nobody else uses it; what it leads to can be written.
unsafe extern "C" fn read_iter(
    kiocb: *mut kernel_bindings::kiocb,
    to: *mut kernel_bindings::iov_iter,
) -> isize {
    // SAFETY: By the requirements of this function.
    let value = unsafe { value_of(kiocb) };
    // SAFETY: By the requirements of this function.
    let to = unsafe { IovIterDest::from_raw(to) };
    value
        .read(to)
        .map_or_else(|err| err.to_errno() as isize, |len| len as isize)
}

/// # Safety
///
/// - `kiocb` fulfills the requirements of [`value_of`] until this has returned.
/// - `from` is valid, and nobody else uses it; what it leads to can be read.
unsafe extern "C" fn write_iter(
    kiocb: *mut kernel_bindings::kiocb,
    from: *mut kernel_bindings::iov_iter,
) -> isize {
    // SAFETY: By the requirements of this function.
    let value = unsafe { value_of(kiocb) };
    // SAFETY: By the requirements of this function.
    let from = unsafe { IovIterSource::from_raw(from) };
    value
        .write(from)
        .map_or_else(|err| err.to_errno() as isize, |len| len as isize)
}
