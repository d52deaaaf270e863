// SPDX-License-Identifier: GPL-2.0-only

//! Which character device an open file is.

use kernel::fs::File;

use super::bindings;

/// The device number of an open character device.
pub(crate) fn number(file: &File) -> Option<u32> {
    // SAFETY: The file is open.
    let number = unsafe { bindings::lu_chrdev(file.as_ptr()) };
    (number != 0).then_some(number)
}
