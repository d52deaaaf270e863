// SPDX-License-Identifier: GPL-2.0-only

//! The root that the next kernel reads: what it finds first, and where it finds the sessions.

use kernel::prelude::*;

use crate::{
    abi::{
        flb::FlbWriter,
        luo::{
            Root,
            COMPATIBLE,
            SUBTREE, //
        },
        pieces::Pieces,
        PhysAddr, //
    },
    file_handlers::registry,
    kapi::kho::{
        Charge,
        Kho,
        PreservedPage,
        Subtree, //
    }, //
};

/// The root of the outgoing state, announced to KHO. It leads to no sessions until
/// [`OutgoingRoot::set_sessions`].
pub(super) struct OutgoingRoot {
    root: Root,
    subtree: Subtree,
    // The C implementation reads this page, if only to find that there are no FLBs in it.
    flbs: PreservedPage,
}

impl OutgoingRoot {
    /// `EEXIST` if the kernel has a Live Update Orchestrator, which has announced its own;
    /// `ENOMEM`.
    pub(super) fn announce(kho: Kho, liveupdate_num: u64) -> Result<Self> {
        let mut flbs = PreservedPage::new(kho, Charge::Nobody)?;
        FlbWriter::new(flbs.bytes_mut());
        let root = Root {
            compatible: COMPATIBLE,
            liveupdate_num,
            sessions: 0,
            flbs: flbs.addr().0,
        };
        let page = PreservedPage::new(kho, Charge::Nobody)?;
        let subtree = Subtree::announce(kho, SUBTREE, page, &root).inspect_err(|err| {
            if *err == EEXIST {
                pr_err!("this kernel has a Live Update Orchestrator already\n");
            }
        })?;
        Ok(Self {
            root,
            subtree,
            flbs,
        })
    }

    /// Writes the FLBs that cross. `ENOMEM`.
    pub(super) fn set_flbs(&mut self, handlers: &registry::Registry) -> Result {
        let mut writer = FlbWriter::new(self.flbs.bytes_mut());
        handlers.for_each_entry(|entry| writer.push(entry))
    }

    /// Makes the root lead to nothing.
    pub(super) fn clear(&mut self) {
        FlbWriter::new(self.flbs.bytes_mut());
        self.set_sessions(PhysAddr(0));
    }

    /// Adds the root to what is counted in `pieces`.
    pub(super) fn count_in(&self, pieces: &mut Pieces) {
        self.flbs.count_in(pieces);
        self.subtree.page().count_in(pieces);
    }

    /// Makes the root lead to the sessions whose first block is at `head`, or to none if it is
    /// null.
    pub(super) fn set_sessions(&mut self, head: PhysAddr) {
        self.root.sessions = head.0;
        self.subtree.rewrite(&self.root);
    }
}
