// SPDX-License-Identifier: GPL-2.0-only

//! A misc device whose open files share a context that the module made.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

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

use super::{
    bindings,
    ioctl::Ioctl,
    module::Entered, //
};

/// What an open device does. A value of the type is an open file.
pub(crate) trait DeviceFile: Sized + Send + Sync + 'static {
    /// What all open files share.
    type Context: Send + Sync + 'static;

    /// `open(2)`.
    ///
    /// # Context
    ///
    /// Process context, with `misc_mtx` held; may sleep.
    fn open(context: &Arc<Self::Context>, entered: &Entered<'_>) -> Result<Self>;

    /// `ioctl(2)`, which returns 0 or an error.
    fn ioctl(&self, call: &Ioctl<'_>) -> Result;
}

/// A registered device. Dropping it deregisters the device.
///
/// # Invariants
///
/// Every [`MiscDeviceRegistration<Opened<T>>`] is the field of such a structure. `context` is
/// initialized before it and, as fields are dropped in order, dropped after it.
#[pin_data]
pub(crate) struct Device<T: DeviceFile> {
    #[pin]
    registration: MiscDeviceRegistration<Opened<T>>,
    context: Arc<T::Context>,
}

impl<T: DeviceFile> Device<T> {
    /// Registers `/dev/NAME`, which only root can open.
    ///
    /// `ENOMEM`, `EBUSY` if there are no minor numbers left.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn register(
        name: &'static CStr,
        context: Arc<T::Context>,
    ) -> impl PinInit<Self, Error> {
        // INVARIANT: The fields are initialized in the order in which they stand here.
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
        // SAFETY: By the type invariant of `Device` the registration is the field of one, whose
        // context is initialized. `misc_open()` calls this under `misc_mtx`, which deregistering
        // takes, so that the device stays.
        let device = unsafe { &*container_of!(registration, Device<T>, registration) };
        // SAFETY: The file is valid and being opened by `misc_open()`, which holds `misc_mtx`.
        to_result(unsafe { bindings::lu_file_pin_module(file.as_ptr()) })?;
        // SAFETY: The operations of the file have this module as their owner, to which the VFS
        // holds a reference until the file is gone or, if this fails, has been cleaned up.
        let entered = unsafe { Entered::new() };
        // Allocated first, because closing what `T::open()` has opened may have effects.
        let slot = KBox::new_uninit(GFP_KERNEL)?;
        Ok(slot.write(Opened(T::open(&device.context, &entered)?)))
    }

    fn ioctl(open: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        // SAFETY: This is the ioctl operation of such a file, and the value ends before it returns.
        let call = unsafe { Ioctl::new(cmd, arg) };
        open.0.ioctl(&call).map(|()| 0)
    }
}
