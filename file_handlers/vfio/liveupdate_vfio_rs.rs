// SPDX-License-Identifier: GPL-2.0-only

//! Devices of vfio-pci that cross a live update: a handler in a module of its own.
//!
//! `handler.rs` tells what happens to a device. `docs/devices.md` is for users.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

use core::borrow::Borrow;

use kernel::prelude::*;

mod handler;
#[allow(unsafe_code)]
mod kapi;
#[allow(unsafe_code)]
#[path = "../../include/liveupdate/mod.rs"]
mod liveupdate;
mod record;

use handler::{
    VfioHandler,
    HANDLER, //
};
use liveupdate::Registration;

module! {
    type: LiveUpdateVfio,
    name: "liveupdate_vfio",
    authors: ["liveupdate-rs developers"],
    description: "Live update of devices of vfio-pci",
    license: "GPL v2",
    params: {
        quiesce: u32 {
            default: 0,
            description: "1: devices that cannot go on may be stopped at the kexec, and come back reset",
        },
    },
}

/// Whether the parameter `quiesce` is set.
fn quiesce_allowed() -> bool {
    copied(module_parameters::quiesce.value()) != 0
}

/// The value of a parameter: Linux 7.2 gives a reference to it, 7.3 a copy.
fn copied(value: impl Borrow<u32>) -> u32 {
    *value.borrow()
}

/// The loaded module. It can be loaded at any time: files of the previous kernel wait for it.
struct LiveUpdateVfio {
    _handler: Registration<VfioHandler>,
}

impl kernel::Module for LiveUpdateVfio {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _handler: Registration::new(&HANDLER)?,
        })
    }
}
