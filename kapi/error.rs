// SPDX-License-Identifier: GPL-2.0-only

//! Errors that the kernel crate does not name in every version.
//!
//! C header: [`include/uapi/asm-generic/errno.h`](srctree/include/uapi/asm-generic/errno.h)

use kernel::{
    bindings,
    error::Error,
    ffi::c_int, //
};

/// `EOPNOTSUPP`: the operation is not supported.
pub(crate) fn eopnotsupp() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// `ENODATA`: there is no data.
pub(crate) fn enodata() -> Error {
    Error::from_errno(-(bindings::ENODATA as c_int))
}

/// `ELOOP`: what is wanted leads back to where it is wanted.
pub(crate) fn eloop() -> Error {
    Error::from_errno(-(bindings::ELOOP as c_int))
}

/// `EHWPOISON`: the memory has a hardware error.
pub(crate) fn ehwpoison() -> Error {
    Error::from_errno(-(bindings::EHWPOISON as c_int))
}
