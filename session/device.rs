// SPDX-License-Identifier: GPL-2.0-only

//! The open device, `/dev/liveupdate`: one at a time, from which sessions are made.

use kernel::{
    prelude::*,
    sync::{
        atomic::ordering::{
            Acquire,
            Release, //
        },
        Arc, //
    }, //
};

use super::{
    commands::DeviceCommand,
    incoming,
    orchestrator::Orchestrator,
    outgoing, //
};
use crate::kapi::{
    device::DeviceFile,
    ioctl::Ioctl,
    module::Entered, //
};

/// The open device. Sessions go on without it.
pub(crate) struct OpenDevice {
    orchestrator: Arc<Orchestrator>,
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        self.orchestrator.device_open.store(0, Release);
    }
}

impl DeviceFile for OpenDevice {
    type Context = Orchestrator;

    /// `EBUSY` if the device is open, `EIO` if the incoming sessions are damaged, `ENOMEM`.
    fn open(orchestrator: &Arc<Orchestrator>, entered: &Entered<'_>) -> Result<Self> {
        if orchestrator.device_open.cmpxchg(0, 1, Acquire).is_err() {
            return Err(EBUSY);
        }
        // From here on, dropping it closes the device.
        let device = Self {
            orchestrator: orchestrator.clone(),
        };
        device.orchestrator.incoming.read(entered)?;
        Ok(device)
    }

    fn ioctl(&self, call: &Ioctl<'_>) -> Result {
        match call.command()? {
            DeviceCommand::CreateSession(arg) => {
                outgoing::create(&self.orchestrator.outgoing, call, &arg)
            }
            DeviceCommand::RetrieveSession(arg) => {
                incoming::retrieve(&self.orchestrator.incoming, call, &arg)
            }
        }
    }
}
