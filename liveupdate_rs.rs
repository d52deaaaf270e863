// SPDX-License-Identifier: GPL-2.0-only

//! The Live Update Orchestrator as a module: files that survive kexec.
//!
//! This file owns what happens when the module is loaded and unloaded. `session.rs` is the place
//! to go on reading.

use core::borrow::Borrow;

use kernel::{
    c_str,
    prelude::*, //
};

mod abi;
mod file_handlers;
mod kapi;
mod session;

use self::{
    kapi::{
        device::Device,
        error::eopnotsupp,
        kexec::Registration,
        kho::Kho, //
    },
    session::{
        OpenDevice,
        Orchestrator, //
    }, //
};

module! {
    type: LiveUpdate,
    name: "liveupdate",
    authors: ["liveupdate-rs developers"],
    description: "Live Update Orchestrator: files that survive kexec",
    license: "GPL v2",
    params: {
        max_sessions: u32 {
            default: 0,
            description: "how many sessions can go out (0: as many as the format has room for)",
        },
        max_files: u32 {
            default: 0,
            description: "how many files can be preserved in all sessions (0: no limit)",
        },
    },
}

/// The value of a parameter, or what a reference to it leads to: kernel crates differ.
fn number(value: impl Borrow<u32>) -> u32 {
    *value.borrow()
}

/// The loaded module. Fields are dropped in order: nobody comes in any more before anything goes.
#[pin_data]
struct LiveUpdate {
    #[pin]
    device: Device<OpenDevice>,
    #[pin]
    kexec: Registration<Orchestrator>,
}

impl kernel::InPlaceModule for LiveUpdate {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let Some(kho) = Kho::get() else {
                pr_err!("Kexec HandOver is off: boot with kho=on\n");
                return Err(eopnotsupp());
            };
            let orchestrator = Orchestrator::new(
                kho,
                number(module_parameters::max_sessions.value()),
                number(module_parameters::max_files.value()),
            )?;
            Ok(try_pin_init!(Self {
                kexec <- Registration::new(orchestrator.clone()),
                device <- Device::register(c_str!("liveupdate"), orchestrator),
            }? Error))
        })
    }
}
