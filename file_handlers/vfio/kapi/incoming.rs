// SPDX-License-Identifier: GPL-2.0-only

//! Devices that the previous kernel may have preserved.

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    fs::File,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    as_raw,
    bindings,
    ids_of, //
};
use crate::record::{
    Ids,
    Location, //
};

/// A device that is where the previous kernel had one.
pub(crate) struct IncomingDevice(ARef<pci::Device>);

impl IncomingDevice {
    /// The device at a location. `None` if there is none.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    pub(crate) fn find(at: Location) -> Option<Self> {
        // SAFETY: There are no requirements for the numbers.
        let pdev = unsafe {
            bindings::pci_get_domain_bus_and_slot(
                at.segment.into(),
                at.bus().into(),
                at.devfn().into(),
            )
        };
        let pdev = NonNull::new(pdev.cast::<pci::Device>())?;
        // SAFETY: The function has returned a valid device with a reference, which becomes ours.
        // `pci::Device` is a transparent wrapper of `struct pci_dev`.
        Some(Self(unsafe { ARef::from_raw(pdev) }))
    }

    /// What the device says that it is.
    pub(crate) fn ids(&self) -> Ids {
        ids_of(&self.0)
    }

    /// Takes the device out of its reservation: a new open file of it, as if its character device had
    /// been opened. Its DMA goes on.
    ///
    /// `ENODEV` if the device is not bound to vfio-pci, `ENOENT` if the previous kernel did not preserve
    /// it, `EBUSY` if it was retrieved before, `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn open(&self) -> Result<ARef<File>> {
        // SAFETY: The PCI device is valid, because we have a reference, and so is the device in it.
        let file = from_err_ptr(unsafe {
            bindings::vfio_device_liveupdate_open(&raw mut (*as_raw(&self.0)).dev)
        })?;
        let file = NonNull::new(file.cast()).ok_or(ENODEV)?;
        // SAFETY: A new file has one reference, which becomes ours. It is in no table of file
        // descriptors yet, so nobody uses its position.
        Ok(unsafe { ARef::from_raw(file) })
    }

    /// If the previous kernel preserved the device and nobody has retrieved it: stops its DMA, resets it,
    /// and ends its reservation. Otherwise does nothing.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn finish(&self) {
        // SAFETY: The device is valid, because we have a reference.
        unsafe { bindings::pci_liveupdate_finish(as_raw(&self.0)) };
    }
}
