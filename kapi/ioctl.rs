// SPDX-License-Identifier: GPL-2.0-only

//! ioctls: the call in progress, and its argument, a structure in user memory that begins with its
//! own size.
//!
//! The rules are those of `kernel/liveupdate/luo_core.c` and `copy_struct_from_user()`. Errors are
//! found in this order: a number out of range (`EINVAL`), an unreadable size (`EFAULT`), another
//! command of the same number (`ENOTTY`), a command that this file does not have (`EINVAL`), a
//! structure that is too small (`EINVAL`), unknown bytes that are not zero (`E2BIG`), and an
//! unreadable structure (`EFAULT`).
//!
//! C header: [`include/uapi/linux/liveupdate.h`](srctree/include/uapi/linux/liveupdate.h)

use core::{
    marker::PhantomData,
    ops::RangeInclusive, //
};

use kernel::{
    bindings as kernel_bindings,
    ioctl::{
        _IO,
        _IOC_NR, //
    },
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use super::{
    bindings,
    module::Entered, //
};

macro_rules! user_structs {
    ($($name:ident),*) => {$(
        pub(crate) use bindings::$name;

        // SAFETY: All fields are integers or arrays of bytes, for which any bits are valid, and
        // none has interior mutability.
        unsafe impl FromBytes for $name {}
        // SAFETY: The sum of the sizes of the fields is the size of the structure, which
        // `assert_packed!` checks: no byte is padding. No field has interior mutability.
        unsafe impl AsBytes for $name {}
    )*};
}

user_structs!(
    liveupdate_ioctl_create_session,
    liveupdate_ioctl_retrieve_session,
    liveupdate_session_preserve_fd,
    liveupdate_session_retrieve_fd,
    liveupdate_session_finish,
    liveupdate_session_get_name
);

/// Asserts that the fields of a structure leave no padding.
macro_rules! assert_packed {
    ($($name:ident { $($field:ident: $size:expr),* })*) => {
        $(const _: () = {
            assert!(size_of::<$name>() == 0 $(+ $size)*);
            // Names every field: with a new one, this does not compile until it is listed.
            const fn fields(value: $name) {
                let bindings::$name { $($field: _),* } = value;
            }
            let _ = fields;
        };)*
    };
}

assert_packed! {
    liveupdate_ioctl_create_session { size: 4, fd: 4, name: 64 }
    liveupdate_ioctl_retrieve_session { size: 4, fd: 4, name: 64 }
    liveupdate_session_preserve_fd { size: 4, fd: 4, token: 8 }
    liveupdate_session_retrieve_fd { size: 4, fd: 4, token: 8 }
    liveupdate_session_finish { size: 4, reserved: 4 }
    liveupdate_session_get_name { size: 4, reserved: 4, name: 64 }
}

pub(crate) use bindings::{
    LIVEUPDATE_CMD_CREATE_SESSION as CREATE_SESSION,
    LIVEUPDATE_CMD_RETRIEVE_SESSION as RETRIEVE_SESSION,
    LIVEUPDATE_CMD_SESSION_FINISH as FINISH,
    LIVEUPDATE_CMD_SESSION_GET_NAME as GET_NAME,
    LIVEUPDATE_CMD_SESSION_PRESERVE_FD as PRESERVE_FD,
    LIVEUPDATE_CMD_SESSION_RETRIEVE_FD as RETRIEVE_FD, //
};

/// An `ioctl(2)` that the current task is in.
///
/// # Invariants
///
/// The current task is in `ioctl(2)` on a file of this module at least as long as the value lives.
pub(crate) struct Ioctl<'a> {
    cmd: u32,
    arg: usize,
    // Keeps the value in this task: `Entered` is not `Send`.
    entered: Entered<'a>,
}

impl<'a> Ioctl<'a> {
    /// # Safety
    ///
    /// The caller is the `unlocked_ioctl` or `compat_ioctl` operation of an open file of this
    /// module, and does not return before `'a` ends.
    pub(super) unsafe fn new(cmd: u32, arg: usize) -> Self {
        // INVARIANT: The caller does not return from the system call before `'a` ends.
        Self {
            cmd,
            arg,
            // SAFETY: The open file holds a reference to the owner of its operations, this module,
            // and the system call holds one to the file.
            entered: unsafe { Entered::new() },
        }
    }

    /// Proof that the module stays loaded during the call.
    pub(crate) fn entered(&self) -> &Entered<'a> {
        &self.entered
    }

    /// Finds out which of the commands of a file is called, and reads the size of its argument.
    ///
    /// `EINVAL`, `EFAULT` or `ENOTTY`, in the order at the top of this file.
    pub(crate) fn command<C: Commands>(&self) -> Result<C> {
        let (number, arg) = UserArg::for_command(self.cmd, C::NUMBERS, self.arg)?;
        C::new(number, arg).ok_or(EINVAL)
    }
}

/// The commands of one kind of file: an enum of which each variant holds its argument.
pub(crate) trait Commands: Sized {
    /// The numbers of the ioctls that the kind of file shares with similar ones.
    const NUMBERS: RangeInclusive<u32>;

    /// The command of that number, or [`None`] if only a similar kind of file has it.
    fn new(number: u32, arg: UserArg) -> Option<Self>;
}

/// The argument of an ioctl: a user address, and the size that the user wrote there.
pub(crate) struct UserArg<T = ()> {
    ptr: UserPtr,
    /// In bytes.
    size: usize,
    _type: PhantomData<T>,
}

impl UserArg {
    /// See [`Ioctl::command`].
    fn for_command(cmd: u32, numbers: RangeInclusive<u32>, arg: usize) -> Result<(u32, Self)> {
        let number = _IOC_NR(cmd);
        if !numbers.contains(&number) {
            return Err(EINVAL);
        }
        let ptr = UserPtr::from_addr(arg);
        let size: u32 = UserSlice::new(ptr, size_of::<u32>()).reader().read()?;
        if cmd != _IO(bindings::LIVEUPDATE_IOCTL_TYPE, number) {
            return Err(ENOTTY);
        }
        let arg = Self {
            ptr,
            size: size as usize,
            _type: PhantomData,
        };
        Ok((number, arg))
    }

    /// Says which structure it is.
    pub(crate) fn of_type<T>(self) -> UserArg<T> {
        UserArg {
            ptr: self.ptr,
            size: self.size,
            _type: PhantomData,
        }
    }
}

impl<T: FromBytes + AsBytes> UserArg<T> {
    /// Reads the structure as `copy_struct_from_user()` does.
    ///
    /// `EINVAL` if it is smaller than `T`, `E2BIG` if it is larger and has a byte beyond `T` that
    /// is not zero, `EFAULT` if it cannot be read.
    ///
    /// # Context
    ///
    /// May sleep, for as long as the provider of the memory likes (`userfaultfd(2)`, FUSE): not
    /// under a lock.
    pub(crate) fn read(&self) -> Result<T> {
        if self.size < size_of::<T>() {
            return Err(EINVAL);
        }
        let rest = self.size - size_of::<T>();
        if rest > 0 {
            let end = self.ptr.wrapping_byte_add(size_of::<T>());
            // SAFETY: `check_zeroed_user()` itself checks that the range is user memory, and has no
            // other requirement.
            let zeroed = unsafe { kernel_bindings::check_zeroed_user(end.as_const_ptr(), rest) };
            if zeroed < 0 {
                return Err(EFAULT);
            }
            if zeroed == 0 {
                return Err(E2BIG);
            }
        }
        UserSlice::new(self.ptr, size_of::<T>()).reader().read()
    }

    /// Writes the structure back, after [`UserArg::read`] has found that all of it fits.
    ///
    /// `EFAULT` if it cannot be written.
    ///
    /// # Context
    ///
    /// As [`UserArg::read`].
    pub(crate) fn write(&self, value: &T) -> Result {
        UserSlice::new(self.ptr, size_of::<T>())
            .writer()
            .write(value)
    }
}

#[kunit_tests(liveupdate_ioctl)]
mod tests {
    use super::*;

    #[test]
    fn the_number_comes_before_the_address() {
        let outside = UserArg::for_command(_IO(0xBA, 0x02), 0..=1, 0);
        assert_eq!(outside.err(), Some(EINVAL));
        let inside = UserArg::for_command(_IO(0xBA, 0x01), 0..=1, 0);
        assert_eq!(inside.err(), Some(EFAULT));
    }

    #[test]
    fn the_address_comes_before_the_type() {
        let other_type = UserArg::for_command(_IO(0xBB, 0x01), 0..=1, 0);
        assert_eq!(other_type.err(), Some(EFAULT));
    }
}
