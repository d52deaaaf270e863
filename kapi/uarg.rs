// SPDX-License-Identifier: GPL-2.0-only

//! Arguments of ioctls: structures in user memory that begin with their own size.

use core::ops::RangeInclusive;

use kernel::{
    bindings as kernel_bindings,
    ioctl::{
        _IO,
        _IOC_NR, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use super::bindings;

/// A structure of `include/uapi/linux/liveupdate.h`.
///
/// # Safety
///
/// The type must be plain old data without padding, for which every bit pattern is valid.
pub(crate) unsafe trait UserStruct: Sized + Default {}

macro_rules! user_structs {
    ($($name:ident),*) => {$(
        pub(crate) use bindings::$name;

        // SAFETY: Integers and arrays of bytes, laid out without padding by the UAPI header.
        unsafe impl UserStruct for $name {}
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

pub(crate) use bindings::{
    LIVEUPDATE_CMD_CREATE_SESSION,
    LIVEUPDATE_CMD_RETRIEVE_SESSION,
    LIVEUPDATE_CMD_SESSION_FINISH,
    LIVEUPDATE_CMD_SESSION_GET_NAME,
    LIVEUPDATE_CMD_SESSION_PRESERVE_FD,
    LIVEUPDATE_CMD_SESSION_RETRIEVE_FD, //
};

/// An address that a user gave, with the size that stands there.
pub(crate) struct UserArg {
    ptr: UserPtr,
    size: usize,
}

impl UserArg {
    /// Finds out which of the commands `numbers` is called, and reads the size of its argument.
    ///
    /// `EINVAL` if the number is none of them, `EFAULT` if the address is bad, `ENOTTY` if the
    /// command has the right number and is another one.
    pub(crate) fn for_command(
        cmd: u32,
        numbers: RangeInclusive<u32>,
        arg: usize,
    ) -> Result<(u32, Self)> {
        let nr = _IOC_NR(cmd);
        if !numbers.contains(&nr) {
            return Err(EINVAL);
        }
        let arg = Self::new(arg)?;
        if cmd != _IO(bindings::LIVEUPDATE_IOCTL_TYPE, nr) {
            return Err(ENOTTY);
        }
        Ok((nr, arg))
    }

    /// Reads the size. `EFAULT` if the address is bad.
    fn new(arg: usize) -> Result<Self> {
        let ptr = UserPtr::from_addr(arg);
        let size: u32 = UserSlice::new(ptr, size_of::<u32>()).reader().read()?;
        Ok(Self {
            ptr,
            size: size as usize,
        })
    }

    /// Reads the structure as `copy_struct_from_user()` does.
    ///
    /// `EINVAL` if it is smaller than all that we know, `E2BIG` if it is larger and the rest is not
    /// zero, `EFAULT` if the address is bad.
    pub(crate) fn read<T: UserStruct>(&self) -> Result<T> {
        if self.size < size_of::<T>() {
            return Err(EINVAL);
        }
        let rest = self.size - size_of::<T>();
        if rest > 0 {
            let end = self.ptr.wrapping_byte_add(size_of::<T>());
            // SAFETY: Any user address may be checked.
            let zeroed = unsafe { kernel_bindings::check_zeroed_user(end.as_const_ptr(), rest) };
            if zeroed < 0 {
                return Err(EFAULT);
            }
            if zeroed == 0 {
                return Err(E2BIG);
            }
        }
        let mut value = T::default();
        // SAFETY: By the contract of the trait any bytes make a valid value.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut((&raw mut value).cast::<u8>(), size_of::<T>())
        };
        UserSlice::new(self.ptr, size_of::<T>())
            .reader()
            .read_slice(bytes)?;
        Ok(value)
    }

    /// Writes the structure back. Only what [`UserArg::read`] accepted can be written, so all of it
    /// fits.
    pub(crate) fn write<T: UserStruct>(&self, value: &T) -> Result {
        // SAFETY: By the contract of the trait there is no padding, so all bytes are initialized.
        let bytes = unsafe {
            core::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>())
        };
        UserSlice::new(self.ptr, size_of::<T>())
            .writer()
            .write_slice(bytes)
    }
}

#[kunit_tests(liveupdate_uarg)]
mod tests {
    use super::*;

    // The sizes that `include/uapi/linux/liveupdate.h` has fixed for ever.
    #[test]
    fn sizes() {
        assert_eq!(size_of::<liveupdate_ioctl_create_session>(), 72);
        assert_eq!(size_of::<liveupdate_ioctl_retrieve_session>(), 72);
        assert_eq!(size_of::<liveupdate_session_preserve_fd>(), 16);
        assert_eq!(size_of::<liveupdate_session_retrieve_fd>(), 16);
        assert_eq!(size_of::<liveupdate_session_finish>(), 8);
        assert_eq!(size_of::<liveupdate_session_get_name>(), 72);
    }

    #[test]
    fn numbers_are_looked_at_before_the_address() {
        let outside = UserArg::for_command(_IO(0xBA, 0x02), 0..=1, 0);
        assert_eq!(outside.err(), Some(EINVAL));
        let inside = UserArg::for_command(_IO(0xBA, 0x01), 0..=1, 0);
        assert_eq!(inside.err(), Some(EFAULT));
    }
}
