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
    abi::pieces::Pieces,
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
        self.root.lock().set_flbs(&self.shared.handlers)?;
        let written = self.outgoing.serialize(&stopped)?;
        let mut pieces = written.pieces;
        let mut root = self.root.lock();
        root.set_sessions(written.head);
        root.count_in(&mut pieces);
        drop(root);
        pr_info!(
            "serialized {} sessions with {} files in {} pieces of memory in {} us\n",
            written.sessions,
            written.files,
            pieces.count(),
            start.elapsed().as_micros_ceil()
        );
        warn_of_slow_boot(&pieces);
        stopped.keep();
        Ok(())
    }

    fn abort(&self) {
        self.root.lock().clear();
        self.outgoing.forget();
        self.shared.freeze.thaw();
    }
}

/// Says what the operator can expect of a next kernel that lacks the patches.
fn warn_of_slow_boot(pieces: &Pieces) {
    let seconds = pieces.boot_seconds();
    if seconds > 0 {
        pr_warn!(
            "taking over {} pieces may delay the boot of the next kernel by {seconds} s if it lacks the patches that come with this module: see docs/performance.md\n",
            pieces.count()
        );
    }
}
