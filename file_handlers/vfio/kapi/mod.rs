// SPDX-License-Identifier: GPL-2.0-only

//! The C of VFIO and PCI made safe: all `unsafe` of the handler.
//!
//! [`outgoing`] has devices of this kernel that cross, [`incoming`] those of the previous kernel.
//!
//! C headers: [`include/linux/pci_liveupdate.h`](srctree/include/linux/pci_liveupdate.h),
//! [`include/linux/vfio.h`](srctree/include/linux/vfio.h)

pub(crate) mod incoming;
pub(crate) mod outgoing;

use kernel::{
    fs::File,
    pci, //
};

use crate::record::{
    Ids,
    Location, //
};

/// What bindgen makes of `bindings.h`.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod bindings {
    include!(env!("LIVEUPDATE_VFIO_BINDINGS"));
}

/// The PCI device that a file is of: `None` unless it is an opened character device of VFIO, and its
/// device is on a PCI bus.
///
/// # Context
///
/// Any.
pub(crate) fn device_of(file: &File) -> Option<&pci::Device> {
    // SAFETY: The file is open.
    let dev = unsafe { bindings::vfio_file_device(file.as_ptr()) };
    if dev.is_null() {
        return None;
    }
    // SAFETY: The device is valid as long as the file is open.
    let pdev = unsafe { bindings::lu_pci_dev(dev) };
    // SAFETY: If it is not null, it is the PCI device that has `dev` in it, and so is valid until the
    // borrow of the file ends. `pci::Device` is a transparent wrapper of `struct pci_dev`.
    unsafe { pdev.cast::<pci::Device>().as_ref() }
}

/// What distinguishes a device from all others of this kernel.
///
/// # Context
///
/// Any.
pub(crate) fn id_of(device: &pci::Device) -> usize {
    as_raw(device) as usize
}

/// Where a device is. `None` if the number of its domain has more than 16 bits. Firmware gives no such
/// numbers; a driver made it up (VMD), and may make up another one in the next kernel.
///
/// # Context
///
/// Any.
pub(crate) fn location_of(device: &pci::Device) -> Option<Location> {
    // SAFETY: The device is valid, and keeps its bus.
    let domain = unsafe { bindings::lu_pci_domain(as_raw(device)) };
    Some(Location {
        segment: domain.try_into().ok()?,
        bdf: device.dev_id(),
    })
}

/// What a device says that it is.
///
/// # Context
///
/// Any.
pub(crate) fn ids_of(device: &pci::Device) -> Ids {
    Ids {
        vendor: device.vendor_id().as_raw(),
        device: device.device_id(),
    }
}

/// The pointer is valid as long as the reference.
fn as_raw(device: &pci::Device) -> *mut bindings::pci_dev {
    core::ptr::from_ref(device).cast_mut().cast()
}
