// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The lists of the agent `lud`, for users that cannot read debugfs, and for the C orchestrator,
//! which has no lists there.
//!
//! The agent knows the sessions that it created or retrieved, and their owners. A user sees its own
//! ones. The agent does not know the files of a session.

use crate::lists::{Direction, Flb, Handler, Session, State};
use crate::process::Process;
use crate::root::Root;
use crate::source::{Debugfs, Source, Unavailable};
use crate::word::Word;
use liveupdate::agent::protocol::{self, Entry};
use liveupdate::agent::Agent;

/// The lists of the module where this user may read them, else the sessions of the agent.
#[derive(Debug)]
pub struct DebugfsOrAgent<'a> {
    root: &'a Root,
    debugfs: Debugfs<'a>,
}

impl<'a> DebugfsOrAgent<'a> {
    /// Reads below `root`, and connects to an agent that listens there.
    pub fn new(root: &'a Root) -> Self {
        Self {
            root,
            debugfs: Debugfs::new(root),
        }
    }

    fn ask(&self) -> Result<Vec<Entry>, liveupdate::Error> {
        Agent::connect_path(self.root.path(Agent::PATH))?.list()
    }

    fn session(&self, entry: &Entry) -> Session {
        let (direction, state) = match (entry.direction, entry.held) {
            (protocol::Direction::Outgoing, true) => (Direction::Outgoing, State::Open),
            // Its program has it, or has closed it.
            (protocol::Direction::Outgoing, false) => {
                (Direction::Outgoing, State::Other("unkept".to_owned()))
            }
            (protocol::Direction::Incoming, true) => (Direction::Incoming, State::Retrieved),
            (protocol::Direction::Incoming, false) => (Direction::Incoming, State::Pending),
        };
        let process = entry.pid.and_then(|pid| Process::find(self.root, pid));
        Session {
            name: Word::new(entry.name.as_bytes()),
            direction,
            state,
            owner: Some(entry.owner),
            files: None,
            pages: None,
            pieces: None,
            age: entry.age,
            pid: entry.pid,
            comm: process.and_then(|process| process.command),
        }
    }
}

impl Source for DebugfsOrAgent<'_> {
    fn sessions(&self) -> Result<Vec<Session>, Unavailable> {
        let why = match self.debugfs.sessions() {
            Err(
                why @ (Unavailable::NoLists
                | Unavailable::NoDebugfs
                | Unavailable::OldModule
                | Unavailable::NotRoot),
            ) => why,
            other => return other,
        };
        match self.ask() {
            Ok(entries) => {
                tracing::info!("the sessions are those that the agent shows to this user");
                Ok(entries.iter().map(|entry| self.session(entry)).collect())
            }
            Err(error) => {
                tracing::debug!("{error}");
                Err(why)
            }
        }
    }

    fn handlers(&self) -> Result<Vec<Handler>, Unavailable> {
        self.debugfs.handlers()
    }

    fn flbs(&self) -> Result<Vec<Flb>, Unavailable> {
        self.debugfs.flbs()
    }
}
