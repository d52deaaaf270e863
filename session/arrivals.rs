// SPDX-License-Identifier: GPL-2.0-only

//! The list of incoming sessions: found when the module is loaded, read when the device is first
//! opened, and left in a state in which it can be found again when the module is loaded again.
//!
//! Damage in the list makes every open fail with `EIO`. What was not read by then stays where it
//! is, out of the reach of everybody.

use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::Arc, //
};

use super::{
    blocks::{
        ClaimedChain,
        NotClaimed, //
    },
    incoming::Session,
    name::Name, //
};
use crate::{
    abi::{
        chain,
        luo::{
            FlbHeader,
            Root,
            SessionEntry,
            SUBTREE, //
        },
        PhysAddr,
        Refusal, //
    },
    kapi::{
        kho::{
            self,
            ClaimedPages,
            Handover, //
        },
        module::ModulePin, //
    }, //
};

/// What the log calls the root and the chain that it points at.
const SESSIONS: &str = "session list";

/// All incoming sessions, by name.
pub(super) struct Registry {
    progress: Progress,
    liveupdate_num: u64,
    sessions: RBTree<Name, Arc<Session>>,
    count: usize,
    /// The module stays until the last of them is finished, or known to be damaged.
    pin: Option<ModulePin>,
}

/// How far reading has come.
enum Progress {
    /// There is a root, and as many sessions as the registry counts.
    Surveyed {
        at: PhysAddr,
        root: Root,
        survey: chain::Survey,
    },
    /// The list of sessions is ours, but there was no memory to go on.
    Claimed {
        at: PhysAddr,
        root: Root,
        chain: ClaimedChain<SessionEntry>,
    },
    /// Every session is in the registry, or was and is finished.
    Read,
    /// What the previous kernel left cannot be used.
    Damaged,
}

fn refused(what: &str, why: Refusal) -> Error {
    pr_err!("{what} from the previous kernel is damaged: {why}\n");
    EIO
}

impl Registry {
    /// Finds out what there is. `ENOMEM`; damage is reported by [`Registry::read`].
    pub(super) fn new() -> Result<Self> {
        let mut this = Self {
            progress: Progress::Read,
            liveupdate_num: 0,
            sessions: RBTree::new(),
            count: 0,
            pin: None,
        };
        match kho::incoming_subtree(SUBTREE) {
            Ok(Some((at, size))) => {
                if let Err(why) = this.survey(at, size) {
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

    fn survey(&mut self, at: PhysAddr, size: u64) -> Result<(), Refusal> {
        let root = Root::read(&Handover, at, size)?;
        self.liveupdate_num = root.liveupdate_num;
        let survey = chain::survey::<SessionEntry>(&Handover, PhysAddr(root.sessions))?;
        self.count = survey.entries;
        self.progress = Progress::Surveyed { at, root, survey };
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
    pub(super) fn read(&mut self) -> Result {
        let progress = core::mem::replace(&mut self.progress, Progress::Damaged);
        let (at, root, chain) = match progress {
            Progress::Read => {
                self.progress = Progress::Read;
                return Ok(());
            }
            Progress::Damaged => return Err(EIO),
            Progress::Claimed { at, root, chain } => (at, root, chain),
            Progress::Surveyed { at, root, survey } => {
                match ClaimedChain::claim(PhysAddr(root.sessions), survey) {
                    Ok(chain) => (at, root, chain),
                    Err(NotClaimed::OutOfMemory) => {
                        self.progress = Progress::Surveyed { at, root, survey };
                        return Err(ENOMEM);
                    }
                    Err(NotClaimed::Refused(why)) => return Err(self.damaged(why)),
                }
            }
        };
        match self.build(&chain) {
            Ok(None) => {}
            Ok(Some(why)) => return Err(self.damaged(why)),
            Err(err) => {
                self.sessions = RBTree::new();
                self.progress = Progress::Claimed { at, root, chain };
                return Err(err);
            }
        }
        self.retire(at, root);
        self.progress = Progress::Read;
        if self.count == 0 {
            self.pin = None;
        }
        Ok(())
    }

    /// Everything that was not read stays where it is: nobody knows what it is.
    fn damaged(&mut self, why: Refusal) -> Error {
        self.sessions = RBTree::new();
        self.count = 0;
        self.pin = None;
        refused(SESSIONS, why)
    }

    fn build(&mut self, chain: &ClaimedChain<SessionEntry>) -> Result<Option<Refusal>> {
        let mut count = 0;
        for entry in chain.entries() {
            let Some(name) = Name::new(&entry.name) else {
                return Ok(Some(Refusal::SessionName));
            };
            if self.sessions.get(&name).is_some() {
                return Ok(Some(Refusal::DuplicateSession));
            }
            let session = Session::new(name, PhysAddr(entry.files), entry.count)?;
            self.sessions
                .try_create_and_insert(name, session, GFP_KERNEL)?;
            count += 1;
        }
        self.count = count;
        Ok(None)
    }

    /// Leaves a root that says that there is nothing more, for when the module is loaded again:
    /// KHO will go on to say where the root is.
    fn retire(&self, at: PhysAddr, root: Root) {
        if let Err(why) = Self::retire_flbs(PhysAddr(root.flbs)) {
            refused("list of objects bound to files", why);
        }
        let empty = Root {
            sessions: 0,
            flbs: 0,
            ..root
        };
        if let Err(why) = Handover.rewrite(at, &empty) {
            refused(SESSIONS, why);
        }
    }

    /// Frees the list of objects bound to files, if there are none. No session depends on it.
    fn retire_flbs(at: PhysAddr) -> Result<(), Refusal> {
        if at.is_null() {
            return Ok(());
        }
        match FlbHeader::read(&Handover, at)?.count {
            0 => ClaimedPages::claim(at, 0).map(drop),
            count => {
                pr_warn!("{count} objects bound to files are of no known kind, and stay\n");
                Ok(())
            }
        }
    }

    /// The session of that name, if it came in and is not finished.
    pub(super) fn find(&self, name: &Name) -> Option<Arc<Session>> {
        self.sessions.get(name).cloned()
    }

    /// Forgets a session that is finished.
    pub(super) fn remove(&mut self, name: &Name) {
        if self.sessions.remove(name).is_some() {
            self.lose();
        }
    }

    /// Waits no longer for a session to be finished: it is, or cannot be.
    pub(super) fn lose(&mut self) {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            self.pin = None;
        }
    }
}
