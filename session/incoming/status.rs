// SPDX-License-Identifier: GPL-2.0-only

//! What the registry knows of an incoming session whose file is open. The registry has no reference to
//! the session itself, which refers to the registry.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    }, //
};

use super::super::listing::Owner;

/// Shared by the session and its place in the registry.
pub(super) struct Status {
    pub(super) owner: Owner,
    /// The number of files that the session has brought.
    files: Atomic<u64>,
    /// The number of tasks that are retrieving a file, or finishing the session.
    busy: Atomic<u64>,
    /// Whether the session is finished.
    finished: Atomic<u64>,
}

/// A task that takes its time, until this is dropped.
pub(super) struct Busy<'a>(&'a Status);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

impl Status {
    /// A session that the current process retrieves. `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        let status = Self {
            owner: Owner::current(),
            files: Atomic::new(0),
            busy: Atomic::new(0),
            finished: Atomic::new(0),
        };
        Ok(Arc::new(status, GFP_KERNEL)?)
    }

    /// The session has this many files.
    pub(super) fn set_files(&self, files: u64) {
        self.files.store(files, Relaxed);
    }

    pub(super) fn files(&self) -> u64 {
        self.files.load(Relaxed)
    }

    /// The current task retrieves a file, or finishes the session.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Relaxed);
        Busy(self)
    }

    /// All files are finished.
    pub(super) fn set_finished(&self) {
        self.finished.store(1, Relaxed);
    }

    /// `busy`, `finished` or `retrieved`.
    pub(super) fn state(&self) -> &'static str {
        if self.busy.load(Relaxed) != 0 {
            "busy"
        } else if self.finished.load(Relaxed) != 0 {
            "finished"
        } else {
            "retrieved"
        }
    }
}
