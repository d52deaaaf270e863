// SPDX-License-Identifier: GPL-2.0-only

//! What sessions of both directions share.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    freeze::FreezeLock,
    identities::Identities,
    limits::Limit, //
};
use crate::{
    file_handlers::registry::Registry,
    kapi::kho::Kho, //
};

/// One value for each time that the module is loaded.
#[pin_data]
pub(super) struct Shared {
    pub(super) kho: Kho,
    #[pin]
    pub(super) freeze: FreezeLock,
    /// The handlers of files, also those of other modules.
    pub(super) handlers: Arc<Registry>,
    /// The files that some session has, in either direction.
    pub(super) identities: Arc<Identities>,
    /// Counts the files that are preserved in all outgoing sessions.
    pub(super) file_limit: Arc<Limit>,
}

impl Shared {
    /// `max_files` bounds the number of preserved files; 0 is no limit. `ENOMEM`.
    pub(super) fn new(kho: Kho, handlers: Arc<Registry>, max_files: u32) -> Result<Arc<Self>> {
        let identities = Identities::new()?;
        let file_limit = Limit::new(max_files)?;
        Arc::pin_init(
            pin_init!(Self {
                kho,
                freeze <- FreezeLock::new(),
                handlers,
                identities,
                file_limit,
            }),
            GFP_KERNEL,
        )
    }
}
