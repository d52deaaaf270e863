// SPDX-License-Identifier: GPL-2.0-only

//! The orchestrator: all sessions of both directions, and the root of the outgoing ones.
//!
//! It is the context of the device (`device.rs`) and of the kexec notifier (`kexec.rs`). Sessions
//! do not refer to it, only to the registry that they are in.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        Mutex, //
    }, //
};

use super::{
    incoming,
    outgoing,
    root::OutgoingRoot,
    shared::Shared, //
};
use crate::{
    file_handlers::registry::Registry,
    kapi::kho::Kho, //
};

/// One value for each time that the module is loaded.
#[pin_data]
pub(crate) struct Orchestrator {
    pub(super) shared: Arc<Shared>,
    pub(super) outgoing: Arc<outgoing::Registry>,
    pub(super) incoming: Arc<incoming::Registry>,
    #[pin]
    pub(super) root: Mutex<OutgoingRoot>,
    /// Whether the device is open: 0 or 1.
    pub(super) device_open: Atomic<i32>,
}

impl Orchestrator {
    /// Surveys the incoming sessions, and announces the outgoing ones.
    ///
    /// `max_sessions` and `max_files` bound the outgoing sessions, and the files in all of them; 0
    /// is no limit.
    ///
    /// `EEXIST` if the kernel has a Live Update Orchestrator, `EBUSY` if this function has made an
    /// orchestrator that still exists, `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn new(
        kho: Kho,
        handlers: Arc<Registry>,
        max_sessions: u32,
        max_files: u32,
    ) -> Result<Arc<Self>> {
        let shared = Shared::new(kho, handlers, max_files)?;
        let incoming = incoming::Registry::new(&shared)?;
        let outgoing = outgoing::Registry::new(&shared, max_sessions)?;
        let root = OutgoingRoot::announce(kho, incoming.liveupdate_num().wrapping_add(1))?;
        pr_info!(
            "live update {}, {} incoming sessions\n",
            incoming.liveupdate_num(),
            incoming.count()
        );
        Arc::pin_init(
            pin_init!(Self {
                shared,
                outgoing,
                incoming,
                root <- new_mutex!(root),
                device_open: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }
}
