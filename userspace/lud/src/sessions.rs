// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The sessions of programs, and whose they are.
//!
//! # Order
//!
//! The agent can die between any two steps, and the next one finds only what is stored. So the
//! owner of a new session is written before the session is stored: without an owner it would be
//! root's. A session that is dropped leaves the store before its owner leaves the list. What is
//! left over by a death is an owner without a session, and [`Sessions::start`] removes that.
//!
//! One gap is left. A kernel gives an incoming session once, and closing it finishes it. If the
//! agent dies after the kernel gave it and before the store has it, its files are freed. Nothing
//! but the next two system calls is in between.

use crate::device::{duplicate, Orchestrator};
use crate::own;
use crate::owners::Owners;
use crate::point::point;
use crate::policy::{Grant, Who};
use crate::record::{List, Owner};
use crate::refusal::{refuse, Failed};
use crate::store::{Adopted, Item, Store};
use anyhow::Result;
use liveupdate::agent::protocol::Direction::{self, Incoming, Outgoing};
use liveupdate::agent::protocol::{Cause, Entry, Refusal};
use liveupdate::SessionName;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A session of which the agent has a file descriptor.
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
    /// Carries the owners of outgoing sessions. Dropping it would forget them.
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
            match item {
                Item::Session(direction, name)
                    if self.orchestrator.identify(&fd) == Some((direction, name)) =>
                {
                    let held = Held {
                        fd,
                        stored: true,
                        by: None,
                    };
                    self.side_mut(direction).held.insert(name, held);
                }
                item => {
                    tracing::error!("{item} in the service manager is not what its name says");
                    // It is gone from here in any case.
                    let _ = self.store.remove(item);
                }
            }
        }
        for (name, _) in adopted.take_others() {
            tracing::warn!("a file \"{name:?}\" from the service manager has no use here");
        }
    }

    /// Removes owners whose session ended with an earlier agent, and enters owners for sessions
    /// that have none.
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

    /// A session that is not kept did not reach its program, and so is gone.
    pub fn undelivered(&mut self, name: &SessionName) {
        let unkept = |owner: Owner| !owner.kept;
        if self.outgoing.owners.get(name).is_some_and(unkept) {
            self.outgoing.owners.remove(name);
        }
    }

    /// Gives an outgoing session once more.
    pub fn open(&self, who: &Who, grant: Grant, name: &SessionName) -> Result<OwnedFd, Refusal> {
        if self.outgoing.owners.get(name).is_none() {
            return Err(absent("the agent has created no such session"));
        }
        self.outgoing.check_owner(who, grant, name)?;
        match self.outgoing.held.get(name) {
            Some(held) => duplicate(&held.fd).map_err(|failed| failed.refusal(Cause::Agent)),
            None => Err(absent("the policy lets the agent not keep this session")),
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

    /// Gives an incoming session.
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
            match self.orchestrator.retrieve(name) {
                Ok(fd) => {
                    point("retrieve-made");
                    self.incoming.held.insert(*name, Held::new(fd, who));
                }
                Err(failed) if failed.is(Errno::NOENT) => {
                    // An owner of nothing: the session was not there at the kexec.
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
            point("retrieve-stored");
            if let Err(failed) = self.incoming.owners.set_kept(Some(name), true) {
                tracing::error!("session \"{name}\": {failed}");
            }
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

    /// Lists sessions after one, as many as `limit`, and says whether there are more. `visible`
    /// decides which of them the process sees at all.
    pub fn list(
        &self,
        who: &Who,
        after: Option<(Direction, SessionName)>,
        limit: usize,
        visible: impl Fn(&SessionName) -> Option<Grant>,
    ) -> (Vec<Entry>, bool) {
        let mut entries = Vec::new();
        for direction in [Outgoing, Incoming] {
            let side = self.side(direction);
            let names: BTreeSet<SessionName> = names(side.owners.list())
                .chain(side.held.keys().copied())
                .collect();
            for name in names {
                let seen = after.is_some_and(|after| (direction, name) <= after);
                let owner = side.owner(&name);
                let allowed = visible(&name).is_some_and(|grant| may_use(who, grant, owner));
                if seen || !allowed {
                    continue;
                }
                if entries.len() == limit {
                    return (entries, true);
                }
                let held = side.held.get(&name);
                let by = held.and_then(|held| held.by);
                entries.push(Entry {
                    name,
                    direction,
                    owner,
                    held: held.is_some(),
                    pid: by.map(|(pid, _)| pid),
                    age: by.map(|(_, since)| since.elapsed().as_secs()),
                });
            }
        }
        (entries, false)
    }
}

fn names(list: &List) -> impl Iterator<Item = SessionName> + '_ {
    list.keys().copied()
}
