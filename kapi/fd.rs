// SPDX-License-Identifier: GPL-2.0-only

//! File descriptors of the current task.

use kernel::{
    bindings as kernel_bindings,
    fs::file::{
        File,
        LocalFile, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// The file descriptor is closed by `execve(2)`.
pub(crate) const O_CLOEXEC: u32 = kernel_bindings::O_CLOEXEC;

/// The open file of a file descriptor. `EBADF` if there is none.
///
/// Context: an ioctl, so that no system call that uses the position is under way in this task.
pub(crate) fn get(fd: i32) -> Result<ARef<File>> {
    let file = LocalFile::fget(fd as u32)?;
    // SAFETY: An ioctl is the only system call of this task, and does not use a position.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}
