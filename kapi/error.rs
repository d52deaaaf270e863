// SPDX-License-Identifier: GPL-2.0-only

//! Errors that the kernel crate has no name for in every version.

use kernel::{
    bindings,
    error::Error,
    ffi::c_int, //
};

/// `EOPNOTSUPP`: what is asked for cannot be done here.
pub(crate) fn eopnotsupp() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// `EHWPOISON`: there is memory in it that is broken.
pub(crate) fn ehwpoison() -> Error {
    Error::from_errno(-(bindings::EHWPOISON as c_int))
}
