// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions of the previous kernel: retrieve, release.

use super::{absent, may_use, Held, Sessions};
use crate::device::{duplicate, retrieve_and_store};
use crate::point::point;
use crate::policy::{Grant, Who};
use crate::refusal::Failed;
use crate::store::Item;
use liveupdate::agent::protocol::Direction::Incoming;
use liveupdate::agent::protocol::{Cause, Refusal};
use liveupdate::SessionName;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

impl Sessions {
    /// Returns an incoming session, which the agent retrieves unless it has it.
    pub fn retrieve(
        &mut self,
        who: &Who,
        grant: Grant,
        name: &SessionName,
    ) -> Result<OwnedFd, Refusal> {
        if self.incoming.owners.get(name).is_some() {
            self.incoming.check_owner(who, grant, name)?;
        } else if !may_use(who, grant, 0) {
            // The kernel cannot be asked whether there is one without taking it.
            return Err(absent(
                "the previous kernel has handed over no such session of this user",
            ));
        }
        if !self.incoming.held.contains_key(name) {
            let item = Item::Session(Incoming, *name);
            match retrieve_and_store(&*self.orchestrator, &self.store, item, name) {
                Ok((fd, stored)) => {
                    let mut held = Held::new(fd, who);
                    held.stored = stored;
                    self.incoming.held.insert(*name, held);
                    point("retrieve-stored");
                }
                Err(failed) if failed.is(Errno::NOENT) => {
                    // The session was gone before the kexec, and its owner still in the list.
                    self.incoming.owners.remove(name);
                    return Err(failed.refusal(Cause::Absent));
                }
                Err(failed) => return Err(failed.refusal(Cause::Kernel)),
            }
        }
        let Some(held) = self.incoming.held.get_mut(name) else {
            return Err(absent("there is no such session"));
        };
        let by_agent = |failed: Failed| failed.refusal(Cause::Agent);
        if !held.stored {
            // If this fails the session stays here, for the next attempt: dropping it would
            // finish it.
            self.store
                .add(Item::Session(Incoming, *name), &held.fd)
                .map_err(by_agent)?;
            held.stored = true;
        }
        if let Err(failed) = self.incoming.owners.set_kept(Some(name), true) {
            tracing::error!("session \"{name}\": {failed}");
        }
        duplicate(&held.fd).map_err(by_agent)
    }

    /// Drops an incoming session.
    pub fn release(&mut self, who: &Who, grant: Grant, name: &SessionName) -> Result<(), Refusal> {
        let Some(held) = self.incoming.held.get(name) else {
            return Err(absent("the agent has no such session open"));
        };
        let stored = held.stored;
        self.incoming.check_owner(who, grant, name)?;
        if stored {
            self.store
                .remove(Item::Session(Incoming, *name))
                .map_err(|failed| failed.refusal(Cause::Agent))?;
            point("release-unstored");
        }
        self.incoming.held.remove(name);
        point("release-closed");
        self.incoming.owners.remove(name);
        Ok(())
    }
}
