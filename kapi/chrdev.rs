// SPDX-License-Identifier: GPL-2.0-only

//! Which character device an open file is. Only handlers for tests ask for it.

use kernel::fs::File;

use super::bindings;

/// The device number of an open character device, or [`None`] for another kind of file.
///
/// # Context
///
/// Any.
pub(crate) fn number(file: &File) -> Option<u32> {
    // SAFETY: The reference makes sure that the file, and with it its inode, is valid.
    let number = unsafe { bindings::lu_chrdev(file.as_ptr()) };
    (number != 0).then_some(number)
}
