// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions for the next kernel: create, open again, discard.

use super::{absent, Held, Sessions};
use crate::device::duplicate;
use crate::point::point;
use crate::policy::{Grant, Who};
use crate::record::Owner;
use crate::refusal::{refuse, Failed};
use crate::store::Item;
use liveupdate::agent::protocol::Direction::Outgoing;
use liveupdate::agent::protocol::{Cause, Refusal};
use liveupdate::SessionName;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

impl Sessions {
    /// Creates an outgoing session.
    pub fn create(
        &mut self,
        who: &Who,
        grant: Grant,
        name: &SessionName,
    ) -> Result<OwnedFd, Refusal> {
        let count = self.outgoing.owners.count(who.uid, name);
        if let Some(max) = grant.max_sessions.filter(|max| count >= *max) {
            let sentence = format!("user {} may have at most {max} sessions", who.uid);
            return Err(refuse(Cause::Limit, Errno::NOSPC, sentence));
        }
        let fd = self
            .orchestrator
            .create(name)
            .map_err(|failed| failed.refusal(Cause::Kernel))?;
        point("create-made");
        let owner = Owner {
            uid: who.uid,
            kept: grant.keep,
        };
        let by_agent = |failed: Failed| failed.refusal(Cause::Agent);
        self.outgoing
            .owners
            .insert(*name, owner)
            .map_err(by_agent)?;
        point("create-recorded");
        if !grant.keep {
            return Ok(fd);
        }
        let kept = || {
            let theirs = duplicate(&fd)?;
            self.store.add(Item::Session(Outgoing, *name), &fd)?;
            Ok(theirs)
        };
        match kept() {
            Ok(theirs) => {
                point("create-stored");
                let mut held = Held::new(fd, who);
                held.stored = true;
                self.outgoing.held.insert(*name, held);
                Ok(theirs)
            }
            Err(failed) => {
                self.outgoing.owners.remove(name);
                Err(by_agent(failed))
            }
        }
    }

    /// Removes the owner of a session that the agent does not keep, and that did not reach its
    /// program.
    pub fn undelivered(&mut self, name: &SessionName) {
        let unkept = |owner: Owner| !owner.kept;
        if self.outgoing.owners.get(name).is_some_and(unkept) {
            self.outgoing.owners.remove(name);
        }
    }

    /// Opens an outgoing session again.
    pub fn open(&self, who: &Who, grant: Grant, name: &SessionName) -> Result<OwnedFd, Refusal> {
        if self.outgoing.owners.get(name).is_none() {
            return Err(absent("the agent has created no such session"));
        }
        self.outgoing.check_owner(who, grant, name)?;
        match self.outgoing.held.get(name) {
            Some(held) => duplicate(&held.fd).map_err(|failed| failed.refusal(Cause::Agent)),
            None => Err(absent(
                "the agent does not keep this session: the policy says so",
            )),
        }
    }

    /// Drops an outgoing session.
    pub fn discard(&mut self, who: &Who, grant: Grant, name: &SessionName) -> Result<(), Refusal> {
        if self.outgoing.owners.get(name).is_none() {
            return Err(absent("the agent has created no such session"));
        }
        self.outgoing.check_owner(who, grant, name)?;
        if self.outgoing.held.contains_key(name) {
            self.store
                .remove(Item::Session(Outgoing, *name))
                .map_err(|failed| failed.refusal(Cause::Agent))?;
            point("discard-unstored");
            self.outgoing.held.remove(name);
            point("discard-closed");
        }
        self.outgoing.owners.remove(name);
        Ok(())
    }
}
