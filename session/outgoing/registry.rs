// SPDX-License-Identifier: GPL-2.0-only

//! All outgoing sessions, by name, and the chain of entries that describes them.

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        Arc,
        Mutex, //
    }, //
};

use super::{
    super::{
        blocks::BlockWriter,
        freeze::{
            Running, //
            Stopped,
        },
        name::Name,
        shared::Shared, //
    },
    files::Location, //
};
use crate::{
    abi::{
        luo::SessionEntry,
        pieces::Pieces,
        PhysAddr, //
    },
    kapi::kho::Charge, //
};

/// All outgoing sessions. `S` is a session: a parameter, because a session refers to its registry.
#[pin_data]
pub(in crate::session) struct Registry<S> {
    pub(super) shared: Arc<Shared>,
    max_sessions: usize,
    #[pin]
    sessions: Mutex<Sessions<S>>,
}

/// What the registry knows about a session.
pub(in crate::session) trait Freeze {
    /// Freezes all files of the session, and adds all its memory to `pieces`. Errors are those of
    /// [`PreservedFile::freeze`](crate::file_handlers::PreservedFile::freeze).
    fn freeze(&self, stopped: &Stopped<'_>, pieces: &mut Pieces) -> Result<Location>;

    /// The reverse of [`Freeze::freeze`], if the files are frozen.
    fn unfreeze(&self);
}

struct Sessions<S> {
    by_name: RBTree<Name, Arc<S>>,
    count: usize,
    /// Has blocks for all sessions, and entries only from a serialization on.
    blocks: BlockWriter<SessionEntry>,
}

/// What [`Registry::serialize`] wrote.
pub(in crate::session) struct Written {
    /// The first block of the chain of sessions, or null.
    pub(in crate::session) head: PhysAddr,
    pub(in crate::session) sessions: usize,
    pub(in crate::session) files: usize,
    /// All memory of the sessions.
    pub(in crate::session) pieces: Pieces,
}

impl<S: Freeze> Registry<S> {
    /// No sessions, and never more than `max_sessions`; 0 is no limit. `ENOMEM`.
    pub(in crate::session) fn new(shared: &Arc<Shared>, max_sessions: u32) -> Result<Arc<Self>> {
        let shared = shared.clone();
        let kho = shared.kho;
        Arc::pin_init(
            pin_init!(Self {
                shared,
                max_sessions: match max_sessions {
                    0 => usize::MAX,
                    max => max as usize,
                },
                sessions <- new_mutex!(Sessions {
                    by_name: RBTree::new(),
                    count: 0,
                    blocks: BlockWriter::new(kho, Charge::Nobody),
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a session.
    ///
    /// `EEXIST` if the name is in use, `ENOSPC` if there are as many sessions as allowed, or as a
    /// chain can hold, `ENOMEM`.
    pub(super) fn insert(&self, _running: &Running<'_>, name: Name, session: Arc<S>) -> Result {
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut sessions = self.sessions.lock();
        let sessions = &mut *sessions;
        let Entry::Vacant(vacant) = sessions.by_name.entry(name) else {
            return Err(EEXIST);
        };
        if sessions.count >= self.max_sessions {
            return Err(ENOSPC);
        }
        sessions.blocks.reserve(sessions.count + 1)?;
        vacant.insert(session, node);
        sessions.count += 1;
        Ok(())
    }

    /// Removes a session, whose files stay preserved as long as somebody refers to it.
    pub(super) fn remove(&self, _running: &Running<'_>, name: &Name) {
        let mut sessions = self.sessions.lock();
        let node = sessions.by_name.remove_node(name);
        if node.is_some() {
            sessions.count -= 1;
            let count = sessions.count;
            sessions.blocks.shrink(count);
        }
        drop(sessions);
        // The lock is released before the node is freed.
        drop(node);
    }

    /// The number of sessions.
    pub(in crate::session) fn count(&self) -> usize {
        self.sessions.lock().count
    }

    /// Freezes the files of all sessions and writes the chain of sessions. After an error, nothing
    /// that was written counts.
    ///
    /// Errors are those of [`Freeze::freeze`].
    pub(in crate::session) fn serialize(&self, stopped: &Stopped<'_>) -> Result<Written> {
        let mut sessions = self.sessions.lock();
        sessions
            .serialize(stopped)
            .inspect_err(|_| sessions.forget())
    }

    /// Undoes [`Registry::serialize`], because no kexec comes.
    pub(in crate::session) fn forget(&self) {
        self.sessions.lock().forget();
    }
}

impl<S: Freeze> Sessions<S> {
    fn forget(&mut self) {
        for session in self.by_name.values() {
            session.unfreeze();
        }
        self.blocks.rewind();
    }

    fn serialize(&mut self, stopped: &Stopped<'_>) -> Result<Written> {
        let mut files = 0;
        let mut pieces = self.blocks.pieces();
        for (name, session) in self.by_name.iter() {
            let location = session.freeze(stopped, &mut pieces)?;
            files += location.count;
            self.blocks.push(&SessionEntry {
                name: *name.as_field(),
                files: location.head.0,
                count: location.count as u64,
            })?;
        }
        Ok(Written {
            head: self.blocks.head(),
            sessions: self.blocks.len(),
            files,
            pieces,
        })
    }
}
