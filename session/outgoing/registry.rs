// SPDX-License-Identifier: GPL-2.0-only

//! All outgoing sessions, by name, and the chain of entries that describes them.

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        CursorMut,
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
        listing::SessionRow,
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
    /// Has blocks for all sessions, and entries only from a serialization on.
    #[pin]
    blocks: Mutex<BlockWriter<SessionEntry>>,
    /// Locked for one lookup, insertion or removal, also while `blocks` is.
    #[pin]
    sessions: Mutex<Sessions<S>>,
}

/// What the registry knows about a session.
pub(in crate::session) trait Freeze {
    /// Freezes all files of the session, and adds all its memory to `pieces`. Errors are those of
    /// [`PreservedFile::freeze`](crate::file_handlers::PreservedFile::freeze). After an error, some
    /// files are frozen.
    fn freeze(&self, stopped: &Stopped<'_>, pieces: &mut Pieces) -> Result<Location>;

    /// The reverse of [`Freeze::freeze`], for those files that are frozen.
    fn unfreeze(&self);

    /// Whether freezing it may take any time, because another module does part of it.
    fn is_slow(&self) -> bool;

    /// What others can see of the session. Waits for no handler.
    fn row(&self) -> SessionRow;
}

struct Sessions<S> {
    by_name: RBTree<Name, Arc<S>>,
    count: usize,
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
                blocks <- new_mutex!(BlockWriter::new(kho, Charge::Nobody)),
                sessions <- new_mutex!(Sessions {
                    by_name: RBTree::new(),
                    count: 0,
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
        let mut blocks = self.blocks.lock();
        let mut sessions = self.sessions.lock();
        let sessions = &mut *sessions;
        let Entry::Vacant(vacant) = sessions.by_name.entry(name) else {
            return Err(EEXIST);
        };
        if sessions.count >= self.max_sessions {
            return Err(ENOSPC);
        }
        blocks.reserve(sessions.count + 1)?;
        vacant.insert(session, node);
        sessions.count += 1;
        Ok(())
    }

    /// Removes a session, whose files stay preserved as long as somebody refers to it.
    pub(super) fn remove(&self, _running: &Running<'_>, name: &Name) {
        let mut blocks = self.blocks.lock();
        let mut sessions = self.sessions.lock();
        let node = sessions.by_name.remove_node(name);
        if node.is_some() {
            sessions.count -= 1;
            blocks.shrink(sessions.count);
        }
        drop(sessions);
        drop(blocks);
        // The locks are released before the node is freed.
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
        let mut blocks = self.blocks.lock();
        self.write(stopped, &mut blocks)
            .inspect_err(|_| self.undo(&mut blocks))
    }

    /// Undoes [`Registry::serialize`], because no kexec comes.
    pub(in crate::session) fn forget(&self) {
        self.undo(&mut self.blocks.lock());
    }

    /// The first session after one of that name, for a reader that shows all.
    pub(in crate::session) fn row_after(&self, last: Option<&Name>) -> Option<SessionRow> {
        self.sessions.lock().after(last, |_, session| session.row())
    }

    fn undo(&self, blocks: &mut BlockWriter<SessionEntry>) {
        // The closure does not fail.
        let _ = self.for_each(|_, session| {
            session.unfreeze();
            Ok(())
        });
        blocks.rewind();
    }

    fn write(
        &self,
        stopped: &Stopped<'_>,
        blocks: &mut BlockWriter<SessionEntry>,
    ) -> Result<Written> {
        let mut files = 0;
        let mut pieces = blocks.pieces();
        self.for_each(|name, session| {
            let location = session.freeze(stopped, &mut pieces)?;
            files += location.count;
            blocks.push(&SessionEntry {
                name: *name.as_field(),
                files: location.head.0,
                count: location.count as u64,
            })
        })?;
        Ok(Written {
            head: blocks.head(),
            sessions: blocks.len(),
            files,
            pieces,
        })
    }

    /// Calls `each` with every session, in the order of names, up to the first error. For a session that
    /// may take any time, `sessions` is not locked meanwhile: others want to see what a kexec waits for.
    ///
    /// While a kexec is entered, no session comes or goes.
    fn for_each(&self, mut each: impl FnMut(&Name, &S) -> Result) -> Result {
        let mut last = None;
        loop {
            let slow = self.sessions.lock().each_fast(last.as_ref(), &mut each)?;
            let Some((name, session)) = slow else {
                return Ok(());
            };
            each(&name, &session)?;
            last = Some(name);
        }
    }
}

impl<S> Sessions<S> {
    /// The first session after one of that name, or the first of all.
    fn cursor_after(&mut self, last: Option<&Name>) -> Option<CursorMut<'_, Name, Arc<S>>> {
        let Some(last) = last else {
            return self.by_name.cursor_front_mut();
        };
        let cursor = self.by_name.cursor_lower_bound_mut(last)?;
        match cursor.current().0 == last {
            true => cursor.move_next(),
            false => Some(cursor),
        }
    }

    fn after<R>(&mut self, last: Option<&Name>, call: impl FnOnce(&Name, &S) -> R) -> Option<R> {
        let cursor = self.cursor_after(last)?;
        let (name, session) = cursor.current();
        Some(call(name, session))
    }
}

impl<S: Freeze> Sessions<S> {
    /// Calls `each` with the sessions after one of that name, up to the first that may take any time.
    /// Returns that one.
    fn each_fast(
        &mut self,
        last: Option<&Name>,
        each: &mut impl FnMut(&Name, &S) -> Result,
    ) -> Result<Option<(Name, Arc<S>)>> {
        let mut cursor = self.cursor_after(last);
        while let Some(at) = cursor {
            let (name, session) = at.current();
            if session.is_slow() {
                return Ok(Some((*name, session.clone())));
            }
            each(name, session)?;
            cursor = at.move_next();
        }
        Ok(None)
    }
}
