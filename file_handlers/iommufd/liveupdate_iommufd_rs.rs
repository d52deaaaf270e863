// SPDX-License-Identifier: GPL-2.0-only

//! Files of iommufd that cross a live update: a handler in a module of its own.
//!
//! `handler.rs` tells what happens to an iommufd. `docs/devices.md` is for users.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

use kernel::prelude::*;

mod handler;
#[allow(unsafe_code)]
mod kapi;
#[allow(unsafe_code)]
#[path = "../../include/liveupdate/mod.rs"]
mod liveupdate;
mod record;

use handler::{
    IommufdHandler,
    HANDLER, //
};
use liveupdate::Registration;

module! {
    type: LiveUpdateIommufd,
    name: "liveupdate_iommufd",
    authors: ["liveupdate-rs developers"],
    description: "Live update of iommufd",
    license: "GPL v2",
}

/// The loaded module. It can be loaded at any time: files of the previous kernel wait for it.
struct LiveUpdateIommufd {
    _handler: Registration<IommufdHandler>,
}

impl kernel::Module for LiveUpdateIommufd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _handler: Registration::new(&HANDLER)?,
        })
    }
}
