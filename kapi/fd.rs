// SPDX-License-Identifier: GPL-2.0-only

//! File descriptors of the current task.
//!
//! C header: [`include/linux/file.h`](srctree/include/linux/file.h)

use kernel::{
    fs::file::{
        File,
        LocalFile, //
    },
    prelude::*,
    sync::aref::ARef, //
};

use super::ioctl::Ioctl;

/// The open file of a file descriptor. `EBADF` if there is none.
///
/// # Context
///
/// Process context, during an ioctl, as `_ioctl` proves. Does not sleep.
pub(crate) fn get(_ioctl: &Ioctl<'_>, fd: i32) -> Result<ARef<File>> {
    let file = LocalFile::fget(fd as u32)?;
    // SAFETY: The current task has no active `fdget_pos()`: by the type invariant of `Ioctl` its
    // system call is ioctl(2), which calls fdget() only.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}
