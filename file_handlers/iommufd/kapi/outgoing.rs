// SPDX-License-Identifier: GPL-2.0-only

//! Files of iommufd of this kernel that the next one will get.

use core::{
    mem::MaybeUninit,
    ptr::null, //
};

use kernel::{
    alloc::AllocError,
    error::to_result,
    ffi::c_char,
    fmt,
    fs::File,
    prelude::*,
    str::CStr,
    sync::aref::ARef, //
};

use super::{
    bindings,
    is_iommufd,
    item::Item, //
};

/// A file that is an iommufd.
///
/// # Invariants
///
/// [`is_iommufd`] says so. A file that is open stays one.
pub(crate) struct Iommufd(ARef<File>);

impl Iommufd {
    /// `None` if the file is no iommufd.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn new(file: ARef<File>) -> Option<Self> {
        // INVARIANT: The function has said so.
        is_iommufd(&file).then_some(Self(file))
    }

    /// Whether the iommufd could cross as it is now. `EOPNOTSUPP` if not, `EINTR` if the task is
    /// killed.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let mut why = null();
        // SAFETY: By the type invariant the file is an iommufd. It is open because of the reference,
        // and `why` can be written.
        let result = unsafe { bindings::iommufd_liveupdate_check(self.0.as_ptr(), &mut why) };
        // SAFETY: The function has left `why` null, or has written a reason there.
        to_result(result).map_err(|err| unsafe { Refusal::new(err, why) })
    }

    /// Lets changes of iommufd fail with `EBUSY`, until the result is dropped. `EINTR` if the task is
    /// killed while it waits for a change to end.
    ///
    /// # Context
    ///
    /// Process context of the task that called `reboot(2)`; sleeps.
    pub(crate) fn freeze(&self) -> Result<FrozenIommufd> {
        let file = self.0.clone();
        // SAFETY: By the type invariant the file is an iommufd. It is open because of the reference.
        to_result(unsafe { bindings::iommufd_liveupdate_freeze(file.as_ptr()) })?;
        // INVARIANT: The call above froze it, and only this value undoes that.
        Ok(FrozenIommufd(Self(file)))
    }
}

/// An iommufd that does not change. Dropping it ends that.
///
/// # Invariants
///
/// `iommufd_liveupdate_freeze()` of the file has succeeded, and only we undo it.
pub(crate) struct FrozenIommufd(Iommufd);

impl FrozenIommufd {
    /// What the iommufd consists of: objects in ascending order of ID, and after each IOAS its areas in
    /// ascending order of IOVA.
    ///
    /// `EOPNOTSUPP` if it cannot cross as it is, `E2BIG` if it consists of too much, `EINTR` if the
    /// task is killed, `EBUSY` if a driver of the kernel adds an object meanwhile, `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn save(&self) -> Result<KVVec<Item>, Refusal> {
        let count = match self.list(&mut []) {
            (Err(refusal), count) if refusal.err == ENOSPC => count,
            (result, _) => return result.map(|()| KVVec::new()),
        };
        let mut items = KVVec::with_capacity(count, GFP_KERNEL)?;
        let (result, count) = self.list(items.spare_capacity_mut());
        result.map_err(|refusal| match refusal.err {
            ENOSPC => Refusal {
                err: EBUSY,
                why: Some(c"objects are added while the kexec is prepared"),
            },
            _ => refusal,
        })?;
        // SAFETY: The call has succeeded, so `count` items fit, and it has initialized them.
        unsafe { items.inc_len(count) };
        Ok(items)
    }

    /// Writes all items to the start of `slots`, and tells how many there are. `ENOSPC` if there are
    /// more than fit. After an error, there are none in `slots`.
    fn list(&self, slots: &mut [MaybeUninit<Item>]) -> (Result<(), Refusal>, usize) {
        let mut count = 0;
        let mut why = null();
        // SAFETY:
        // - By the type invariants the file is an iommufd, and frozen. It is open because of the
        //   reference.
        // - `Item` is a transparent wrapper of `struct iommufd_liveupdate_item`, so that many of those
        //   can be written. They become valid items: the function gives each area a file, with a
        //   reference for the caller. It takes that from the iommufd, which has had a reference besides
        //   those of file descriptors since the file was mapped. So nobody uses its position without
        //   the lock.
        // - `count` and `why` can be written.
        let result = unsafe {
            bindings::iommufd_liveupdate_save(
                self.0 .0.as_ptr(),
                slots.as_mut_ptr().cast(),
                slots.len(),
                &mut count,
                &mut why,
            )
        };
        // SAFETY: The function has left `why` null, or has written a reason there.
        let result = to_result(result).map_err(|err| unsafe { Refusal::new(err, why) });
        (result, count)
    }
}

impl Drop for FrozenIommufd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the file was frozen. It is open because of the reference, and
        // only this undoes it.
        unsafe { bindings::iommufd_liveupdate_unfreeze(self.0 .0.as_ptr()) };
    }
}

/// Why an iommufd does not cross.
pub(crate) struct Refusal {
    err: Error,
    /// In words, if the kernel has some.
    why: Option<&'static CStr>,
}

impl Refusal {
    /// # Safety
    ///
    /// `why` is null, or what a function of iommufd has named as a reason.
    unsafe fn new(err: Error, why: *const c_char) -> Self {
        let why = (!why.is_null()).then(|| {
            // SAFETY: By the requirement of this function it is a reason: a string constant of iommufd,
            // which ends with a NUL. This module calls functions of iommufd, which is therefore not
            // unloaded before it.
            unsafe { CStr::from_char_ptr(why) }
        });
        Self { err, why }
    }

    /// The error that the user gets.
    pub(crate) fn errno(&self) -> Error {
        self.err
    }
}

impl From<Error> for Refusal {
    fn from(err: Error) -> Self {
        Self { err, why: None }
    }
}

impl From<AllocError> for Refusal {
    fn from(err: AllocError) -> Self {
        Error::from(err).into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why.map(CStr::to_str) {
            Some(Ok(why)) => f.write_str(why),
            _ => write!(f, "error {}", self.err.to_errno()),
        }
    }
}
