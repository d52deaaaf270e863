// SPDX-License-Identifier: GPL-2.0-only

//! The handler of character devices of vfio-pci.
//!
//! # What crosses
//!
//! The device itself, with all of its state, and the page tables of the IOMMU that it uses. The open file
//! does not cross: the user gets a new one, and binds and attaches it again, while the device goes on
//! writing through the old page table. The iommufd may cross by itself, see `file_handlers/iommufd/`.
//! Interrupts do not cross.
//!
//! # The life of a device
//!
//! ```text
//!   old kernel                                     │  new kernel
//!                                                  │
//!   preserve    may its DMA go on? If not, and the │  (boot) translation stays on, the old page
//!                 user allows it: quiesce          │           table is used, no driver may have
//!      │                                           │           the device
//!   (userspace drives the device, and may map      │     │
//!    more memory)                                  │  retrieve   is it the same device? Then a
//!      │                                           │     │         file, as if it was opened
//!   freeze      it can reach preserved memory      │  (userspace maps the same memory again, and
//!      │          only                             │   attaches the new page table)
//!      │                                           │     │
//!    kexec ─── it goes on; quiesce: stopped, reset ┼──►  │
//!                                                  │  finish     not retrieved: stopped, reset
//! ```
//!
//! The kernel does all of that, because it is needed in the old kernel after the last module has been
//! called, and in the new one long before the first is loaded. This handler ties it to the life of a
//! file: a session has the device until it is finished.
//!
//! # The unhappy path
//!
//! - If the device cannot go on, `preserve_fd` fails with `EOPNOTSUPP`, unless the module was loaded with
//!   `quiesce=1`. The log says which way it was, and why.
//! - If it can reach memory that is not preserved, the kexec is refused with `EBUSY`: the next kernel
//!   would use that memory for something else.
//! - A device that is at the same place and has other IDs is not the one that was preserved. It is not
//!   retrieved (`EIO`), and not reset when the session is finished.
//! - If nobody retrieves the device, its DMA goes on until the session is finished. So it does for ever if
//!   this module is not loaded by then: nobody else knows what the record means.

use kernel::{
    fmt,
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    kapi::{
        device_of,
        id_of,
        ids_of,
        incoming::IncomingDevice,
        location_of,
        outgoing::{
            PreservedDevice,
            Way, //
        }, //
    },
    liveupdate::{
        eopnotsupp,
        may_log,
        Damage,
        Failure,
        FileHandler,
        Handler,
        Handover,
        IncomingFiles,
        Kho,
        Outcome,
        OutgoingFiles,
        PreservedFile, //
    },
    quiesce_allowed,
    record::{
        Ids,
        Location,
        Record,
        COMPATIBLE, //
    }, //
};

/// See the module documentation.
pub(crate) struct VfioHandler;

pub(crate) static HANDLER: Handler<VfioHandler> = Handler::new(VfioHandler);

impl FileHandler for VfioHandler {
    type Preserved = PreservedVfio;

    fn compatible(&self) -> &str {
        COMPATIBLE
    }

    fn accepts(&self, file: &File) -> bool {
        device_of(file).is_some()
    }

    /// Two open files of a device are one file: the device crosses once.
    fn id(&self, file: &File) -> usize {
        device_of(file).map_or(file.as_ptr() as usize, id_of)
    }

    fn preserve(
        &self,
        _kho: Kho,
        file: ARef<File>,
        _session: &dyn OutgoingFiles,
    ) -> Result<KBox<PreservedVfio>> {
        let device = device_of(&file).ok_or(ENODEV)?;
        let Some(at) = location_of(device) else {
            log(fmt!(
                "a device is not preserved: its PCI domain has no fixed number ({})",
                eopnotsupp().to_errno()
            ));
            return Err(eopnotsupp());
        };
        let record = Record {
            at,
            ids: ids_of(device),
        };
        let device = preserve_device(&file, record)?;
        // If this fails, the device is unpreserved.
        Ok(KBox::new(PreservedVfio { record, device }, GFP_KERNEL)?)
    }

    fn retrieve(
        &self,
        _handover: &Handover,
        data: u64,
        _session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        let record = Record::from_data(data);
        let file = find(record).and_then(|device| device.open().map_err(Refusal::Open));
        file.map_err(|refusal| {
            pr_err!("{} cannot be retrieved: {refusal}\n", record.at);
            refusal.errno().into()
        })
    }

    fn finish(&self, _handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        if let Outcome::Retrieved(_) = outcome {
            // The device belongs to that file: closing it stops the DMA.
            return Ok(());
        }
        let record = Record::from_data(data);
        match find(record) {
            Ok(device) => device.finish(),
            Err(refusal) => pr_err!("{} is not stopped: {refusal}\n", record.at),
        }
        Ok(())
    }
}

/// Preserves a device so that its DMA goes on or, if that is impossible and allowed, so that it is
/// stopped. Says in the log which it is.
fn preserve_device(file: &File, record: Record) -> Result<PreservedDevice> {
    let is_unsupported = |err: &Error| *err == eopnotsupp();
    let (way, device) = match PreservedDevice::new(file, Way::Continue) {
        Err(err) if is_unsupported(&err) && quiesce_allowed() => {
            (Way::Quiesce, PreservedDevice::new(file, Way::Quiesce))
        }
        device => (Way::Continue, device),
    };
    let what = match (&device, way) {
        (Ok(_), Way::Continue) => "its DMA goes on during the kexec",
        (Ok(_), Way::Quiesce) => {
            "its DMA cannot go on, so it is stopped at the kexec and comes back reset (quiesce is set)"
        }
        (Err(err), Way::Continue) if is_unsupported(err) => {
            "not preserved: its DMA cannot go on, and quiesce is not set"
        }
        (Err(err), Way::Quiesce) if is_unsupported(err) => {
            "not preserved: it can neither go on nor be stopped and reset"
        }
        (Err(EBUSY), _) => "not preserved: it is preserved already, or not yet bound after a kexec",
        (Err(_), _) => "not preserved",
    };
    log(fmt!("{} ({}): {what}", record.at, record.ids));
    device
}

/// A line in the log about what a user can do again and again.
fn log(line: fmt::Arguments<'_>) {
    if may_log() {
        pr_info!("{line}\n");
    }
}

/// A device that is preserved.
pub(crate) struct PreservedVfio {
    record: Record,
    device: PreservedDevice,
}

impl PreservedFile for PreservedVfio {
    fn data(&self) -> u64 {
        self.record.to_data()
    }

    fn freeze(&mut self, _session: &dyn OutgoingFiles) -> Result {
        self.device.freeze()
    }

    fn unfreeze(&mut self) {
        self.device.unfreeze();
    }
}

/// Why there is no file for a record.
enum Refusal {
    /// No device is there.
    Gone,
    /// Another device is there.
    Another { expected: Ids, found: Ids },
    /// VFIO does not open it.
    Open(Error),
}

impl Refusal {
    /// The error that the user gets. Another device means `EIO`, as damaged data does: either the record
    /// or the machine is not what the previous kernel had.
    fn errno(&self) -> Error {
        match self {
            Self::Gone => ENODEV,
            Self::Another { .. } => EIO,
            Self::Open(err) => *err,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Gone => f.write_str("there is no device any more"),
            Self::Another { expected, found } => {
                write!(
                    f,
                    "the device there is {found}, and {expected} was preserved"
                )
            }
            Self::Open(ENODEV) => f.write_str("it is not bound to vfio-pci"),
            Self::Open(ENOENT) => f.write_str("the kernel has not kept it, or has stopped it"),
            Self::Open(EBUSY) => f.write_str("it was retrieved before"),
            Self::Open(err) => write!(f, "error {}", err.to_errno()),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// The device of a record.
fn find(record: Record) -> Result<IncomingDevice, Refusal> {
    let device = IncomingDevice::find(record.at).ok_or(Refusal::Gone)?;
    let found = device.ids();
    if found != record.ids {
        return Err(Refusal::Another {
            expected: record.ids,
            found,
        });
    }
    Ok(device)
}
