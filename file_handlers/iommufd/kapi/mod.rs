// SPDX-License-Identifier: GPL-2.0-only

//! The C of iommufd made safe: all `unsafe` of the handler.
//!
//! [`item`] has what an iommufd consists of, [`outgoing`] those of this kernel that cross. [`restore`]
//! makes one of the previous kernel again.
//!
//! C header: [`include/linux/iommufd_liveupdate.h`](srctree/include/linux/iommufd_liveupdate.h)

pub(crate) mod item;
mod name;
pub(crate) mod outgoing;

use core::ptr::NonNull;

use kernel::{
    bindings as kernel_bindings,
    error::from_err_ptr,
    ffi::c_int,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

pub(crate) use name::FileName;

use item::Item;

/// What bindgen makes of `bindings.h`.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod bindings {
    include!(env!("LIVEUPDATE_IOMMUFD_BINDINGS"));
}

/// Whether a file is an iommufd.
///
/// # Context
///
/// Any.
pub(crate) fn is_iommufd(file: &File) -> bool {
    // SAFETY: The file is open.
    unsafe { bindings::iommufd_liveupdate_is_iommufd(file.as_ptr()) }
}

/// Makes an iommufd of what it consists of, each IOAS before what it maps. Devices and their page
/// tables are made when the devices are bound.
///
/// The errors of [`is_contradiction`] if the items do not fit together, `ENOMEM`, `ENFILE`.
///
/// # Context
///
/// Process context; sleeps. Memory that is mapped is accounted to the current task.
pub(crate) fn restore(items: &[Item]) -> Result<ARef<File>> {
    // SAFETY: `Item` is a transparent wrapper of `struct iommufd_liveupdate_item`, so there are as many
    // of those as the slice has. By the invariants of `Item` their files are open, and areas have one.
    // The function checks everything else.
    let file = from_err_ptr(unsafe {
        bindings::iommufd_liveupdate_restore(items.as_ptr().cast(), items.len())
    })?;
    let file = NonNull::new(file.cast()).ok_or(ENOMEM)?;
    // SAFETY: A new file has one reference, which becomes ours. It is in no table of file descriptors
    // yet, so nobody uses its position.
    Ok(unsafe { ARef::from_raw(file) })
}

/// Whether an error of [`restore`] means that the items contradict each other.
pub(crate) fn is_contradiction(err: Error) -> bool {
    let errors = [
        kernel_bindings::EINVAL,
        kernel_bindings::EEXIST,
        kernel_bindings::EADDRINUSE,
        kernel_bindings::EOVERFLOW,
    ];
    errors
        .iter()
        .any(|errno| err.to_errno() == -(*errno as c_int))
}
