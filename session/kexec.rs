// SPDX-License-Identifier: GPL-2.0-only

//! The way from `reboot(2)` to the memory that the next kernel reads.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::orchestrator::Orchestrator;
use crate::{
    abi::PhysAddr,
    kapi::{
        error::eopnotsupp,
        kexec::{
            Image,
            KexecPrepare, //
        }, //
    }, //
};

impl KexecPrepare for Orchestrator {
    /// Freezes all sessions and serializes them. If a file refuses, everything is as before.
    ///
    /// `EOPNOTSUPP` if there are sessions and the image would not hand them over, `EINTR` if the task
    /// is killed while it waits for calls of other tasks, and the errors of a file that cannot be
    /// frozen.
    fn prepare(&self, image: &Image<'_>) -> Result {
        let stopped = self.shared.freeze.freeze()?;
        let sessions = self.outgoing.count();
        if sessions > 0 && !image.hands_over() {
            pr_err!(
                "kexec refused: {sessions} sessions would be lost: kexec_load(2) has loaded the image; use kexec_file_load(2), as kexec -s does\n"
            );
            return Err(eopnotsupp());
        }
        let unfinished = self.incoming.count();
        if unfinished > 0 {
            pr_warn!("{unfinished} incoming sessions are not finished: the next kernel does not get them\n");
        }
        let start = Instant::<Monotonic>::now();
        let written = self.outgoing.serialize(&stopped)?;
        self.root.lock().set_sessions(written.head);
        pr_info!(
            "serialized {} sessions with {} files in {} us\n",
            written.sessions,
            written.files,
            start.elapsed().as_micros_ceil()
        );
        stopped.keep();
        Ok(())
    }

    fn abort(&self) {
        self.root.lock().set_sessions(PhysAddr(0));
        self.outgoing.forget();
        self.shared.freeze.thaw();
    }
}
