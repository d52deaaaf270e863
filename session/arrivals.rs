// SPDX-License-Identifier: GPL-2.0-only

//! The list of incoming sessions: found when the module is loaded, read when the device is first
//! opened, and left in a state in which it can be found again when the module is loaded again.
//!
//! Damage in the list makes every open fail with `EIO`. What was not read by then stays where it
//! is, out of the reach of everybody.

use kernel::prelude::*;

use super::{
    blocks,
    files::FileList,
    name::Name,
    table::{
        Named,
        Table, //
    }, //
};
use crate::{
    abi::{
        chain,
        luo::{
            FlbHeader,
            Root,
            SessionEntry, //
        },
        Damage, //
        PhysAddr,
    },
    kapi::{
        handover::{
            Handover,
            RootLocation, //
        },
        module::ModulePin, //
    }, //
};

/// What the log calls the root and the chain that it points at.
const SESSIONS: &str = "session list";

/// All incoming sessions.
pub(super) struct Registry {
    progress: Progress,
    liveupdate_num: u64,
    sessions: Table<Arrival>,
    /// How many of them are not finished, and may still be.
    count: usize,
    /// The module stays until the last of them is finished, or known to be damaged.
    pin: Option<ModulePin>,
}

/// A session that came in.
struct Arrival {
    name: Name,
    state: State,
}

impl Named for Arrival {
    fn name(&self) -> &Name {
        &self.name
    }
}

/// Where the files of a session are.
enum State {
    /// Here, for who asks for the session.
    Here(FileList),
    /// With the session, for which there is a file.
    Taken,
    /// Lost: the list of them is damaged.
    Damaged,
}

/// How far reading has come.
enum Progress {
    /// There is a root, and as many sessions as the registry counts.
    Surveyed { root: Root, survey: chain::Survey },
    /// Every session is in the registry, or was and is finished.
    Read,
    /// What the previous kernel left cannot be used.
    Damaged,
}

fn refused(what: &str, why: Damage) -> Error {
    pr_err!("{what} from the previous kernel is damaged: {why}\n");
    EIO
}

impl Registry {
    /// Finds out what there is. `ENOMEM`; damage is reported by [`Registry::read`].
    pub(super) fn new(handover: &Handover) -> Result<Self> {
        let mut this = Self {
            progress: Progress::Read,
            liveupdate_num: 0,
            sessions: Table::new(),
            count: 0,
            pin: None,
        };
        match handover.root() {
            Ok(Some(location)) => {
                if let Err(why) = this.survey(handover, location) {
                    refused(SESSIONS, why);
                    this.progress = Progress::Damaged;
                }
            }
            Ok(None) => {}
            Err(err) => {
                pr_err!(
                    "the root of the previous kernel cannot be found: {}\n",
                    err.to_errno()
                );
                this.progress = Progress::Damaged;
            }
        }
        if this.count > 0 {
            this.pin = Some(ModulePin::new()?);
        }
        Ok(this)
    }

    fn survey(&mut self, handover: &Handover, location: RootLocation) -> Result<(), Damage> {
        let root = Root::read(handover, location.at, location.size)?;
        self.liveupdate_num = root.liveupdate_num;
        let survey = chain::survey::<SessionEntry>(handover, PhysAddr(root.sessions))?;
        self.count = survey.entries;
        self.progress = Progress::Surveyed { root, survey };
        Ok(())
    }

    /// How many live updates led to this kernel.
    pub(super) fn liveupdate_num(&self) -> u64 {
        self.liveupdate_num
    }

    /// How many sessions are not finished.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Reads the list of sessions, if that was not done yet.
    ///
    /// `EIO`, now and ever after, if it is damaged. `ENOMEM` can be tried again.
    pub(super) fn read(&mut self, handover: &Handover) -> Result {
        let (root, survey) = match self.progress {
            Progress::Read => return Ok(()),
            Progress::Damaged => return Err(EIO),
            Progress::Surveyed { root, survey } => (root, survey),
        };
        let mut sessions = Table::new();
        sessions.reserve(survey.entries)?;
        let read = blocks::claim(
            handover,
            PhysAddr(root.sessions),
            survey,
            |entry: SessionEntry| {
                let name = Name::new(&entry.name).ok_or(Damage::SessionName)?;
                let files = FileList::unread(PhysAddr(entry.files), entry.count);
                let state = State::Here(files);
                // There is room for all, so it is the name that is in the way.
                sessions
                    .insert(Arrival { name, state })
                    .map_err(|_| Damage::DuplicateSession)
            },
        );
        if let Err(why) = read {
            // Everything that was not read stays where it is: nobody knows what it is.
            self.progress = Progress::Damaged;
            self.count = 0;
            self.pin = None;
            return Err(refused(SESSIONS, why));
        }
        self.count = sessions.len();
        self.sessions = sessions;
        self.retire(handover, root);
        self.progress = Progress::Read;
        if self.count == 0 {
            self.pin = None;
        }
        Ok(())
    }

    /// Leaves a root that says that there is nothing more, for when the module is loaded again:
    /// KHO will go on to say where the root is.
    fn retire(&self, handover: &Handover, root: Root) {
        if let Err(why) = Self::retire_flbs(handover, PhysAddr(root.flbs)) {
            refused("list of objects bound to files", why);
        }
        let empty = Root {
            sessions: 0,
            flbs: 0,
            ..root
        };
        if let Err(why) = handover.rewrite_root(&empty) {
            refused(SESSIONS, why);
        }
    }

    /// Frees the list of objects bound to files, if there are none. No session depends on it.
    fn retire_flbs(handover: &Handover, at: PhysAddr) -> Result<(), Damage> {
        if at.is_null() {
            return Ok(());
        }
        match FlbHeader::read(handover, at)?.count {
            0 => handover.claim_pages(at, 0).map(drop),
            count => {
                pr_warn!("{count} objects bound to files are of no known kind, and stay\n");
                Ok(())
            }
        }
    }

    /// Takes the files of a session, which nobody can have then until they are put back.
    ///
    /// `ENOENT` if no such session came in, `EINVAL` if somebody has it, `EIO` if it is damaged.
    pub(super) fn take(&mut self, name: &Name) -> Result<FileList> {
        let arrival = self.sessions.get_mut(name).ok_or(ENOENT)?;
        match core::mem::replace(&mut arrival.state, State::Taken) {
            State::Here(files) => Ok(files),
            State::Taken => Err(EINVAL),
            State::Damaged => {
                arrival.state = State::Damaged;
                Err(EIO)
            }
        }
    }

    /// The reverse of [`Registry::take`].
    pub(super) fn put_back(&mut self, name: &Name, files: FileList) {
        if let Some(arrival) = self.sessions.get_mut(name) {
            arrival.state = State::Here(files);
        }
    }

    /// Tells everybody who asks for a session that was taken that it is damaged.
    pub(super) fn set_damaged(&mut self, name: &Name) {
        if let Some(arrival) = self.sessions.get_mut(name) {
            arrival.state = State::Damaged;
            self.lose();
        }
    }

    /// Forgets a session that is finished.
    pub(super) fn remove(&mut self, name: &Name) {
        if self.sessions.remove(name) {
            self.lose();
        }
    }

    /// Waits no longer for a session to be finished: it is, or cannot be.
    fn lose(&mut self) {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            self.pin = None;
        }
    }
}
