// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The sessions of programs, and their owners.
//!
//! # Order
//!
//! The agent can be killed between any two steps, and the next one finds only what is stored. So
//! the agent writes the owner of a new session before it stores the session: without an owner it
//! would be root's. It removes a session from the store before it removes the owner from the list.
//! So a kill leaves at most an owner without a session, and [`Sessions::start`] removes that.
//!
//! The kernel gives an incoming session once, and closing it finishes it. If the agent retrieved
//! it, a kill before the store has it would end it. So a child process that shares the file
//! descriptors retrieves and stores it: see [`crate::device::retrieve_and_store`]. Only a kill of
//! both, such as that of the whole cgroup, can still lose it.

mod incoming;
mod list;
mod outgoing;
#[cfg(test)]
mod tests;

use crate::device::Orchestrator;
use crate::own;
use crate::owners::Owners;
use crate::policy::{Grant, Who};
use crate::record::Owner;
use crate::refusal::refuse;
use crate::store::{Adopted, Item, Store};
use anyhow::Result;
use liveupdate::agent::protocol::Direction::{self, Incoming, Outgoing};
use liveupdate::agent::protocol::{Cause, Refusal};
use liveupdate::SessionName;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A session that the agent has a file descriptor of.
#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    stored: bool,
    /// The process that created or retrieved it, and when; not known after a restart.
    by: Option<(u32, Instant)>,
}

impl Held {
    fn new(fd: OwnedFd, who: &Who) -> Self {
        Self {
            fd,
            stored: false,
            by: Some((who.pid, Instant::now())),
        }
    }
}

/// The sessions of one direction.
#[derive(Debug)]
struct Side {
    owners: Owners,
    held: BTreeMap<SessionName, Held>,
}

impl Side {
    /// The user that a session belongs to. Sessions of unknown origin are root's.
    fn owner(&self, name: &SessionName) -> u32 {
        self.owners.get(name).map_or(0, |owner| owner.uid)
    }

    /// Refuses a session of another user.
    fn check_owner(&self, who: &Who, grant: Grant, name: &SessionName) -> Result<(), Refusal> {
        if may_use(who, grant, self.owner(name)) {
            Ok(())
        } else {
            Err(refuse(
                Cause::Owner,
                Errno::ACCESS,
                "the session belongs to another user",
            ))
        }
    }
}

/// Whether a session of that owner is one that the process may use.
fn may_use(who: &Who, grant: Grant, owner: u32) -> bool {
    who.uid == owner || who.uid == 0 || grant.any_owner
}

fn absent(sentence: &str) -> Refusal {
    refuse(Cause::Absent, Errno::NOENT, sentence)
}

/// All sessions.
pub struct Sessions {
    orchestrator: Box<dyn Orchestrator>,
    store: Store,
    outgoing: Side,
    incoming: Side,
    /// Carries the owners of outgoing sessions to the next kernel, as long as it is open.
    _own: OwnedFd,
}

impl Sessions {
    /// Takes over what an earlier agent has stored, and what the previous kernel has left.
    pub fn start(
        orchestrator: Box<dyn Orchestrator>,
        store: Store,
        mut adopted: Adopted,
    ) -> Result<Self> {
        let incoming = own::incoming(&*orchestrator, &store, &mut adopted)?;
        let (own, outgoing) = own::outgoing(&*orchestrator, &store, &mut adopted)?;
        let side = |owners| Side {
            owners,
            held: BTreeMap::new(),
        };
        let mut sessions = Self {
            orchestrator,
            store,
            outgoing: side(outgoing),
            incoming: side(incoming),
            _own: own,
        };
        sessions.adopt(adopted);
        sessions.reconcile();
        sessions.say_status();
        Ok(sessions)
    }

    fn adopt(&mut self, mut adopted: Adopted) {
        for (item, fd) in adopted.take_items() {
            let found = self.orchestrator.identify(&fd);
            let (Item::Session(..), Some((direction, name))) = (item, found) else {
                tracing::error!("{item} in the service manager is not what its name says");
                // It is closed here in any case.
                let _ = self.store.remove(item);
                continue;
            };
            let actual = Item::Session(direction, name);
            let mut held = Held {
                fd,
                stored: true,
                by: None,
            };
            if actual != item {
                // A service manager that carries its store across kexec returns an outgoing
                // session, which is incoming now, under its old name. Closing it would finish it.
                tracing::warn!("{item} in the service manager is {actual}");
                // systemd ignores a file that it already stores under another name, so the old
                // name is removed first.
                let _ = self.store.remove(item);
                held.stored = self.store.add(actual, &held.fd).is_ok();
            }
            self.side_mut(direction).held.insert(name, held);
        }
        for (name, _) in adopted.take_others() {
            tracing::warn!("a file \"{name:?}\" from the service manager has no use here");
        }
    }

    /// Removes owners of sessions that ended with an earlier agent, and enters root for sessions
    /// that have no owner.
    fn reconcile(&mut self) {
        for side in [&mut self.outgoing, &mut self.incoming] {
            let held = &side.held;
            let result = side
                .owners
                .retain(|name, owner| !owner.kept || held.contains_key(name));
            if let Err(failed) = result {
                tracing::error!("{failed}");
            }
        }
        let side = &mut self.outgoing;
        let held = &side.held;
        let unknown: Vec<SessionName> = held
            .keys()
            .filter(|name| side.owners.get(name).is_none())
            .copied()
            .collect();
        for name in unknown {
            tracing::warn!("session \"{name}\" has no known owner: it belongs to root");
            let owner = Owner { uid: 0, kept: true };
            if let Err(failed) = side.owners.insert(name, owner) {
                tracing::error!("session \"{name}\": {failed}");
            }
        }
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Outgoing => &self.outgoing,
            Incoming => &self.incoming,
        }
    }

    fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Outgoing => &mut self.outgoing,
            Incoming => &mut self.incoming,
        }
    }

    /// Tells the service manager how many sessions there are.
    pub fn say_status(&self) {
        self.store.tell(&format!(
            "STATUS={} outgoing sessions, {} incoming ones open",
            self.outgoing.owners.list().len(),
            self.incoming.held.len()
        ));
    }

    /// Tells the service manager something.
    pub fn tell(&self, text: &str) {
        self.store.tell(text);
    }
}
