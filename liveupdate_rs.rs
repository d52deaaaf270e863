// SPDX-License-Identifier: GPL-2.0-only

//! The Live Update Orchestrator as a module: files that survive kexec.
//!
//! This file owns what happens when the module is loaded and unloaded. `session.rs` is where to
//! read on.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

use core::borrow::Borrow;

use kernel::{
    prelude::*,
    sync::Arc, //
};

mod abi;
mod file_handlers;
#[allow(unsafe_code)]
mod kapi;
mod session;

use self::{
    file_handlers::registry::Registry,
    kapi::{
        debugfs::Directory,
        device::Device,
        error::eopnotsupp,
        handler_api,
        kexec::Registration,
        kho::Kho, //
    },
    session::{
        directory,
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
            description: "maximum number of outgoing sessions (0: as many as the format can hold)",
        },
        max_files: u32 {
            default: 0,
            description: "maximum number of files that are preserved in all sessions (0: no limit)",
        },
    },
}

/// The value of a parameter: Linux 7.2 gives a reference to it, 7.3 a copy.
fn copied(value: impl Borrow<u32>) -> u32 {
    *value.borrow()
}

/// The loaded module. Fields are dropped in order: first the files in debugfs go, which show the others,
/// then no user can open the device any more, then no kexec asks the orchestrator, and then the
/// orchestrator is freed. Other modules that use the exported functions keep this one loaded.
#[pin_data]
struct LiveUpdate {
    _debugfs: Directory<Orchestrator>,
    #[pin]
    device: Device<OpenDevice>,
    #[pin]
    kexec: Registration<Orchestrator>,
    _handlers: handler_api::Registration,
}

impl kernel::InPlaceModule for LiveUpdate {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let Some(kho) = Kho::get() else {
                pr_err!("Kexec HandOver is off: boot with kho=on\n");
                return Err(eopnotsupp());
            };
            let handlers = Registry::new()?;
            let orchestrator = Orchestrator::new(
                kho,
                handlers.clone(),
                copied(module_parameters::max_sessions.value()),
                copied(module_parameters::max_files.value()),
            )?;
            let handlers: Arc<dyn handler_api::HandlerApi> = handlers;
            Ok(try_pin_init!(Self {
                _handlers: handler_api::Registration::new(handlers)?,
                kexec <- Registration::new(orchestrator.clone()),
                device <- Device::register(c"liveupdate", orchestrator.clone()),
                // Last: it cannot fail, so the module stays once its files are there.
                _debugfs: directory(orchestrator),
            }? Error))
        })
    }
}
