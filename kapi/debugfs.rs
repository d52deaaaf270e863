// SPDX-License-Identifier: GPL-2.0-only

//! A directory in debugfs, whose files show lists.
//!
//! The files of the kernel crate (`kernel::debugfs`) keep all of their text in memory, and a directory
//! of that crate takes no other files. Lists have no bound, so they need files that are read line by
//! line.
//!
//! An open file holds a reference to the module, so that `rmmod` fails with `EWOULDBLOCK` meanwhile.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use core::marker::PhantomData;

use kernel::{
    bindings as kernel_bindings,
    ffi::c_int,
    prelude::*,
    str::CStr,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use super::{
    bindings,
    listing::{
        Listing,
        Sequence, //
    },
    module::Entered, //
};

/// A directory with files. Dropping it removes both.
///
/// A kernel without debugfs, or without memory for a file, does without: nothing else of the module
/// depends on it.
///
/// # Invariants
///
/// - `dentry` is what `lu_debugfs_create_dir()` has returned, and was not removed.
/// - The private data of each file in there is `context`.
pub(crate) struct Directory<C: Send + Sync + 'static> {
    dentry: *mut kernel_bindings::dentry,
    context: Arc<C>,
}

// SAFETY: Any thread may add files to a directory, and remove it. `context` is `Send`.
unsafe impl<C: Send + Sync> Send for Directory<C> {}
// SAFETY: A shared reference gives access to nothing.
unsafe impl<C: Send + Sync> Sync for Directory<C> {}

impl<C: Send + Sync> Directory<C> {
    /// A directory in the root of debugfs, without files.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn new(name: &'static CStr, context: Arc<C>) -> Self {
        // INVARIANT: This is the directory, or why there is none. It has no files.
        Self {
            // SAFETY: `name` is a C string.
            dentry: unsafe { bindings::lu_debugfs_create_dir(name.as_char_ptr()) },
            context,
        }
    }

    /// Adds a file that shows a list, and that only root can open.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn with_list<L: Listing<Context = C>>(self, name: &'static CStr) -> Self {
        let context = Arc::as_ptr(&self.context).cast_mut();
        // INVARIANT: The private data is `context`.
        // SAFETY:
        // - `name` is a C string, and by the type invariant `dentry` is that of a directory or an error.
        // - The operations are static, and those of a file with such private data. That exists until
        //   the directory is dropped, which removes the file first.
        unsafe {
            bindings::lu_debugfs_create_file(
                name.as_char_ptr(),
                self.dentry,
                context.cast(),
                Operations::<L>::TABLE,
            )
        };
        self
    }
}

impl<C: Send + Sync> Drop for Directory<C> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it was not removed. Nobody opens its files afterwards, so that
        // nobody uses their private data.
        unsafe { bindings::lu_debugfs_remove(self.dentry) };
    }
}

/// The operations of a file, which debugfs calls through operations of its own.
struct Operations<L>(PhantomData<L>);

impl<L: Listing> Operations<L> {
    const TABLE: &'static kernel_bindings::file_operations = &kernel_bindings::file_operations {
        // An open file holds a reference to the owner, until after `release` has returned.
        owner: &raw mut bindings::__this_module,
        open: Some(Self::open),
        read: Some(kernel_bindings::seq_read),
        llseek: Some(kernel_bindings::seq_lseek),
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// - `inode` is that of a file of a [`Directory`] whose context is that of `L`, and the directory is
    ///   not dropped meanwhile.
    /// - `file` is being opened, and has no private data. The caller holds a reference to the owner of
    ///   the operations until the file is released or, if this fails, until this has returned.
    unsafe extern "C" fn open(
        inode: *mut kernel_bindings::inode,
        file: *mut kernel_bindings::file,
    ) -> c_int {
        // SAFETY: By the requirements, and the type invariant of `Directory`, the private data is a
        // pointer to the value of an `Arc` that exists until this has returned.
        let context: ArcBorrow<'_, L::Context> =
            unsafe { ArcBorrow::from_raw((*inode).i_private.cast_const().cast()) };
        // SAFETY: By the requirements, and because this is called from outside of the module.
        let entered = unsafe { Entered::new() };
        L::opened(&context, &entered);
        // SAFETY: By the requirements `file` is being opened and has no private data. Besides `open`
        // and `release`, which calls `close()`, the operations are `seq_*()` functions. The module stays
        // until `release` has returned.
        match unsafe { Sequence::<L>::open(file, context.into()) } {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `open` has succeeded for `file`, which is that of `inode`, and nobody uses it any more.
    unsafe extern "C" fn release(
        inode: *mut kernel_bindings::inode,
        file: *mut kernel_bindings::file,
    ) -> c_int {
        // SAFETY: By the requirements of this function.
        unsafe { Sequence::<L>::close(inode, file) };
        0
    }
}
