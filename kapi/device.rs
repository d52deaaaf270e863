// SPDX-License-Identifier: GPL-2.0-only

//! A misc device whose open files share a context that the module made.

use kernel::{
    container_of,
    error::to_result,
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CStr,
    sync::Arc, //
};

use super::bindings;

/// What an open device does. A value of the type is an open file.
pub(crate) trait DeviceFile: Sized + Send + Sync + 'static {
    /// What all open files share.
    type Context: Send + Sync + 'static;

    /// `open(2)`.
    fn open(context: &Arc<Self::Context>) -> Result<Self>;

    /// `ioctl(2)`.
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize>;
}

/// A registered device; it is gone when this is dropped.
///
/// # Invariants
///
/// `registration` is only ever a part of this structure, and `context` was there before it.
#[pin_data]
pub(crate) struct Device<T: DeviceFile> {
    context: Arc<T::Context>,
    #[pin]
    registration: MiscDeviceRegistration<Opened<T>>,
}

impl<T: DeviceFile> Device<T> {
    /// Registers `/dev/name`, for root only.
    pub(crate) fn register(
        name: &'static CStr,
        context: Arc<T::Context>,
    ) -> impl PinInit<Self, Error> {
        // INVARIANT: Fields are initialized in order, so the context is there first.
        try_pin_init!(Self {
            context,
            registration <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        }? Error)
    }
}

/// An open file of a [`Device`].
struct Opened<T>(T);

#[vtable]
impl<T: DeviceFile> MiscDevice for Opened<T> {
    type Ptr = KBox<Self>;

    fn open(file: &File, registration: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let registration = core::ptr::from_ref(registration).cast_mut();
        // SAFETY: By the invariant of `Device` every registration of this type is part of one.
        let device = unsafe { &*container_of!(registration, Device<T>, registration) };
        // SAFETY: The file is being opened by `misc_open()`, which holds `misc_mtx`.
        to_result(unsafe { bindings::lu_file_pin_module(file.as_ptr()) })?;
        let room = KBox::new_uninit(GFP_KERNEL)?;
        Ok(room.write(Opened(T::open(&device.context)?)))
    }

    fn ioctl(open: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        open.0.ioctl(cmd, arg)
    }
}
