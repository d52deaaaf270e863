// SPDX-License-Identifier: GPL-2.0-only

//! All incoming sessions, by name: surveyed when the module is loaded, read when the device is
//! first opened, and left in a state in which loading the module again finds no sessions.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use super::{
    super::{
        blocks,
        freeze::Running,
        listing::{
            Direction,
            SessionRow, //
        },
        name::Name,
        shared::Shared, //
    },
    files::{
        FileList,
        Unread, //
    },
    status::Status, //
};
use crate::{
    abi::{
        chain,
        flb::{
            FlbEntry,
            FlbHeader, //
        },
        luo::{
            Root,
            SessionEntry,
            SUBTREE, //
        },
        Damage,
        PhysAddr,
        PAGE_SIZE, //
    },
    kapi::{
        handover::{
            Handover,
            RootLocation, //
        },
        module::{
            Entered,
            ModulePin, //
        }, //
    }, //
};

/// What the log calls the root and the chain that it leads to.
const SESSIONS: &str = "session list";

/// All incoming sessions.
#[pin_data]
pub(in crate::session) struct Registry {
    pub(super) shared: Arc<Shared>,
    pub(super) handover: Arc<Handover>,
    liveupdate_num: u64,
    #[pin]
    sessions: Mutex<Sessions>,
}

/// # Invariants
///
/// `sorted` is sorted by name, and no two sessions have the same.
struct Sessions {
    progress: Progress,
    /// A session that is finished keeps its place: removing it would move all that follow.
    sorted: KVVec<Session>,
    /// The number of sessions that are not finished, and may still be.
    unfinished: usize,
    /// Keeps the module loaded as long as there are such sessions.
    pin: Option<ModulePin>,
}

struct Session {
    name: Name,
    state: State,
}

/// The place of a session whose files are taken: sessions stay where they are until the last of
/// them is finished.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

/// Where the files of a session are.
enum State {
    /// In the registry.
    Available(FileList),
    /// With the session, whose file is open.
    Taken(Arc<Status>),
    /// Nowhere: the session is finished.
    Finished,
    /// The list of files is damaged.
    Damaged,
}

/// How far the list of sessions has been read.
enum Progress {
    /// The chain of sessions has been surveyed.
    Surveyed { root: Root, survey: chain::Survey },
    /// Every session is in the registry.
    Read,
    /// The previous kernel left a list that is damaged.
    Damaged,
}

/// What the log calls the page of FLBs.
const FLBS: &str = "list of objects bound to files";

/// Reads the FLBs that the previous kernel has left, and claims nothing. Damage is logged, and costs
/// all FLBs: then the root leads to none. `ENOMEM`.
fn read_flbs(handover: &Handover, root: &mut Root) -> Result<KVec<FlbEntry>> {
    let at = PhysAddr(root.flbs);
    if at.is_null() {
        return Ok(KVec::new());
    }
    let header = FlbHeader::read(handover, at);
    let count = header.map_or(0, |header| header.count as usize);
    let mut entries = KVec::with_capacity(count, GFP_KERNEL)?;
    // Usually there are none.
    let mut page = match count {
        0 => KVec::new(),
        _ => KVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?,
    };
    let read = header.and_then(|header| {
        header.entries(handover, at, &mut page, |entry| {
            // The capacity is that of all entries.
            let _ = entries.push_within_capacity(entry);
        })
    });
    if let Err(why) = read {
        report(FLBS, why);
        root.flbs = 0;
    }
    Ok(entries)
}

/// Logs that `what` is damaged.
fn report(what: &str, why: Damage) {
    pr_err!("{what} from the previous kernel is damaged: {why}\n");
}

impl Progress {
    /// Looks at the root and the chain of sessions, and claims nothing.
    fn survey(handover: &Handover, location: RootLocation) -> Result<Self, Damage> {
        let root = Root::read(handover, location.at, location.size)?;
        let survey = chain::survey::<SessionEntry>(handover, PhysAddr(root.sessions))?;
        Ok(Self::Surveyed { root, survey })
    }

    /// As [`Progress::survey`]; damage is logged, and answered by [`Registry::read`].
    fn new(handover: &Handover) -> Self {
        match handover.root() {
            Ok(None) => Self::Read,
            Ok(Some(location)) => Self::survey(handover, location).unwrap_or_else(|why| {
                report(SESSIONS, why);
                Self::Damaged
            }),
            Err(err) => {
                pr_err!(
                    "the root of the previous kernel cannot be found: {}\n",
                    err.to_errno()
                );
                Self::Damaged
            }
        }
    }
}

impl Registry {
    /// Surveys the incoming sessions. Damage is answered by [`Registry::read`].
    ///
    /// `EBUSY` if there is another registry, `ENOMEM`.
    pub(in crate::session) fn new(shared: &Arc<Shared>) -> Result<Arc<Self>> {
        let shared = shared.clone();
        let handover = Handover::new(shared.kho, SUBTREE)?;
        let mut progress = Progress::new(&handover);
        let (liveupdate_num, unfinished) = match progress {
            Progress::Surveyed { root, survey } => (root.liveupdate_num, survey.entries),
            Progress::Read | Progress::Damaged => (0, 0),
        };
        if let Progress::Surveyed { root, .. } = &mut progress {
            shared.handlers.set_arrived(read_flbs(&handover, root)?);
        }
        let pin = match unfinished {
            0 => None,
            _ => Some(ModulePin::new()?),
        };
        Arc::pin_init(
            pin_init!(Self {
                shared,
                handover,
                liveupdate_num,
                sessions <- new_mutex!(Sessions {
                    progress,
                    sorted: KVVec::new(),
                    unfinished,
                    pin,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// How many live updates led to this kernel.
    pub(in crate::session) fn liveupdate_num(&self) -> u64 {
        self.liveupdate_num
    }

    /// The number of sessions that are not finished.
    pub(in crate::session) fn count(&self) -> usize {
        self.sessions.lock().unfinished
    }

    /// Reads the list of sessions, unless it has been read.
    ///
    /// `EIO` if it is damaged, from then on. `ENOMEM`: the caller can try again.
    pub(in crate::session) fn read(&self, entered: &Entered<'_>) -> Result {
        let mut sessions = self.sessions.lock();
        let (root, survey) = match sessions.progress {
            Progress::Read => return Ok(()),
            Progress::Damaged => return Err(EIO),
            Progress::Surveyed { root, survey } => (root, survey),
        };
        let mut sorted = KVVec::with_capacity(survey.entries, GFP_KERNEL)?;
        match self.claim(&root, survey, &mut sorted) {
            Ok(()) => {
                // INVARIANT: `claim()` has sorted them, and found no name twice.
                sessions.sorted = sorted;
                sessions.progress = Progress::Read;
                Ok(())
            }
            Err(why) => {
                report(SESSIONS, why);
                sessions.progress = Progress::Damaged;
                sessions.unfinished = 0;
                sessions.unpin(entered);
                Err(EIO)
            }
        }
    }

    /// Claims the chain of sessions, and sorts them by name into `sorted`, whose capacity is that
    /// of all.
    ///
    /// An error leaves the rest of the chain reserved: it could belong to another user of KHO.
    fn claim(
        &self,
        root: &Root,
        survey: chain::Survey,
        sorted: &mut KVVec<Session>,
    ) -> Result<(), Damage> {
        let head = PhysAddr(root.sessions);
        blocks::claim(&self.handover, head, survey, |entry: SessionEntry| {
            let name = Name::new(&entry.name).ok_or(Damage::SessionName)?;
            let files = FileList::Unread(Unread {
                first: PhysAddr(entry.files),
                count: entry.count,
            });
            let state = State::Available(files);
            let _ = sorted.push_within_capacity(Session { name, state });
            Ok(())
        })?;
        // A kernel with this module writes them in ascending order.
        if !sorted.is_sorted_by(|a, b| a.name < b.name) {
            sorted.sort_unstable_by_key(|session| session.name);
            let mut pairs = Iterator::zip(sorted.iter(), sorted.iter().skip(1));
            if pairs.any(|(a, b)| a.name == b.name) {
                return Err(Damage::DuplicateSession);
            }
        }
        self.retire_root(root);
        Ok(())
    }

    /// Leaves a root that leads to nothing, for when the module is loaded again: KHO goes on to
    /// tell where the root is.
    fn retire_root(&self, root: &Root) {
        if let Err(why) = self.free_flbs(PhysAddr(root.flbs)) {
            report(FLBS, why);
        }
        let empty = Root {
            sessions: 0,
            flbs: 0,
            ..*root
        };
        if let Err(why) = self.handover.rewrite_root(&empty) {
            report(SESSIONS, why);
        }
    }

    /// Frees the page of FLBs, which was read.
    fn free_flbs(&self, at: PhysAddr) -> Result<(), Damage> {
        match at.is_null() {
            true => Ok(()),
            false => self.handover.claim_pages(at, 0).map(drop),
        }
    }

    /// The first session after one of that name, for a reader that shows all. Finished ones do not
    /// count.
    pub(in crate::session) fn row_after(&self, last: Option<&Name>) -> Option<SessionRow> {
        let sessions = self.sessions.lock();
        let start = match last {
            Some(last) => sessions
                .sorted
                .partition_point(|session| session.name <= *last),
            None => 0,
        };
        let mut rest = sessions.sorted.iter().skip(start);
        rest.find_map(Session::row)
    }

    /// Takes the files of a session, until somebody puts them back. `status` tells others about it.
    ///
    /// `ENOENT` if there is no such session, or if it is finished; `EINVAL` if its files are taken;
    /// `EIO` if the list of them is damaged.
    pub(super) fn take(
        &self,
        _running: &Running<'_>,
        name: &Name,
        status: &Arc<Status>,
    ) -> Result<(Place, FileList)> {
        let mut sessions = self.sessions.lock();
        let found = sessions
            .sorted
            .binary_search_by(|session| session.name.cmp(name));
        let place = Place(found.map_err(|_| ENOENT)?);
        let session = sessions.sorted.get_mut(place.0).ok_or(ENOENT)?;
        match core::mem::replace(&mut session.state, State::Taken(status.clone())) {
            State::Available(files) => Ok((place, files)),
            state => {
                let err = state.unavailable();
                session.state = state;
                Err(err)
            }
        }
    }

    /// The reverse of [`Registry::take`].
    pub(super) fn put_back(&self, _running: &Running<'_>, place: Place, files: FileList) {
        if let Some(session) = self.sessions.lock().sorted.get_mut(place.0) {
            session.state = State::Available(files);
        }
    }

    /// Notes that the list of files of a session that was taken is damaged.
    pub(super) fn set_damaged(&self, running: &Running<'_>, place: Place) {
        self.settle(running, place, State::Damaged);
    }

    /// Notes that a session that was taken is finished.
    pub(super) fn set_finished(&self, running: &Running<'_>, place: Place) {
        self.settle(running, place, State::Finished);
    }

    fn settle(&self, running: &Running<'_>, place: Place, state: State) {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.sorted.get_mut(place.0) else {
            return;
        };
        session.state = state;
        sessions.unfinished = sessions.unfinished.saturating_sub(1);
        if sessions.unfinished > 0 {
            return;
        }
        sessions.unpin(running.entered());
        // A finished session answers like one that never was. Of a damaged one, something is known.
        let damaged = |session: &Session| matches!(session.state, State::Damaged);
        if !sessions.sorted.iter().any(damaged) {
            sessions.sorted = KVVec::new();
        }
    }
}

impl Session {
    /// What others can see of it. Nobody sees a finished session.
    fn row(&self) -> Option<SessionRow> {
        let (state, files, owner) = match &self.state {
            State::Available(FileList::Unread(unread)) => ("pending", Some(unread.count), None),
            State::Available(FileList::Read(files)) => ("pending", Some(files.len()), None),
            State::Taken(status) => (status.state(), Some(status.files()), Some(status.owner)),
            State::Damaged => ("damaged", None, None),
            State::Finished => return None,
        };
        Some(SessionRow {
            direction: Direction::Incoming,
            name: self.name,
            state,
            files,
            pages: None,
            pieces: None,
            owner,
        })
    }
}

impl State {
    /// The error for a session whose files are not available.
    fn unavailable(&self) -> Error {
        match self {
            Self::Available(_) | Self::Taken(_) => EINVAL,
            Self::Finished => ENOENT,
            Self::Damaged => EIO,
        }
    }
}

impl Sessions {
    /// Lets the module be unloaded.
    fn unpin(&mut self, entered: &Entered<'_>) {
        if let Some(pin) = self.pin.take() {
            pin.release(entered);
        }
    }
}
