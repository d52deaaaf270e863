// SPDX-License-Identifier: GPL-2.0-only

//! Devices of this kernel that the next one will get.

use kernel::{
    error::to_result,
    fs::File,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    as_raw,
    bindings,
    device_of, //
};

/// What becomes of the DMA of a device at the kexec.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It goes on.
    Continue,
    /// It is stopped when nothing can refuse the kexec any more. The device comes back reset.
    Quiesce,
}

impl Way {
    fn as_raw(self) -> bindings::pci_liveupdate_way {
        match self {
            Self::Continue => bindings::pci_liveupdate_way_PCI_LIVEUPDATE_CONTINUE,
            Self::Quiesce => bindings::pci_liveupdate_way_PCI_LIVEUPDATE_QUIESCE,
        }
    }
}

/// A device that is preserved. Dropping it unpreserves the device.
///
/// # Invariants
///
/// `pci_liveupdate_preserve()` of `device` has succeeded, and only we undo it. `frozen` says whether
/// `pci_liveupdate_freeze()` has succeeded since, and was not undone.
pub(crate) struct PreservedDevice {
    device: ARef<pci::Device>,
    frozen: bool,
    /// As long as it is open, the device stays bound to its driver.
    _file: ARef<File>,
}

impl PreservedDevice {
    /// Preserves the device of a file of VFIO.
    ///
    /// `ENODEV` if the file is none of those, `EBUSY` if the device is preserved or not yet opened after a
    /// kexec, `EOPNOTSUPP` if the device or its IOMMU cannot go this way.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn new(file: &File, way: Way) -> Result<Self> {
        let device = ARef::from(device_of(file).ok_or(ENODEV)?);
        // SAFETY: The device is valid, because we have a reference.
        to_result(unsafe { bindings::pci_liveupdate_preserve(as_raw(&device), way.as_raw()) })?;
        // INVARIANT: It was preserved just now, and is not frozen.
        Ok(Self {
            device,
            frozen: false,
            _file: file.into(),
        })
    }

    /// Makes the device ready for the kexec that is being entered. From then on it can reach preserved
    /// memory only in the next kernel, and userspace cannot change its mappings until
    /// [`PreservedDevice::unfreeze`].
    ///
    /// `EBUSY` if it can reach other memory; the kernel logs the device, the address and the file.
    /// `EINVAL` if no page table of userspace is attached, `EOPNOTSUPP` if it uses PASIDs, `EINTR`,
    /// `ENOSPC`, `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context of the task that called `reboot(2)`; sleeps.
    pub(crate) fn freeze(&mut self) -> Result {
        if !self.frozen {
            // SAFETY: The device is valid. By the type invariant it is preserved and not frozen.
            to_result(unsafe { bindings::pci_liveupdate_freeze(as_raw(&self.device)) })?;
            // INVARIANT: It was frozen just now.
            self.frozen = true;
        }
        Ok(())
    }

    /// Undoes [`PreservedDevice::freeze`], if that has succeeded.
    ///
    /// # Context
    ///
    /// As [`PreservedDevice::freeze`].
    pub(crate) fn unfreeze(&mut self) {
        if self.frozen {
            // SAFETY: The device is valid. By the type invariant it is preserved and frozen.
            unsafe { bindings::pci_liveupdate_unfreeze(as_raw(&self.device)) };
            // INVARIANT: Its freeze was undone just now.
            self.frozen = false;
        }
    }
}

impl Drop for PreservedDevice {
    fn drop(&mut self) {
        self.unfreeze();
        // SAFETY: The device is valid. By the type invariant it is preserved and, after the call above,
        // not frozen. Only this undoes it.
        unsafe { bindings::pci_liveupdate_unpreserve(as_raw(&self.device)) };
    }
}
