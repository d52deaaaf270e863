// SPDX-License-Identifier: GPL-2.0-only

//! The files of an outgoing session, by token, and the chain of entries that describes them.

use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Mutex,
        MutexGuard, //
    }, //
};

use super::{
    super::{
        blocks::BlockWriter,
        fdinfo,
        freeze::{
            Running, //
            Stopped,
        },
        name::Name,
        shared::Shared, //
    },
    file::{
        token_of,
        Freezing,
        OutgoingFile, //
    },
};
use crate::{
    abi::{
        luo::FileEntry,
        pieces::Pieces,
        PhysAddr, //
    },
    kapi::{
        anon_file::FdInfo,
        fd,
        ioctl::Ioctl,
        kho::{
            Charge,
            Kho, //
        },
        session_files::OutgoingFiles, //
    }, //
};

/// The files of a session. Dropping them unpreserves them.
#[pin_data]
pub(super) struct FileSet {
    /// 1 as soon as another module has preserved a file, and may take any time to freeze it.
    slow: Atomic<i32>,
    #[pin]
    files: Mutex<Files>,
}

/// How large a session is, and what is going on.
pub(super) struct Status {
    pub(super) state: &'static str,
    pub(super) files: u64,
    pub(super) pages: u64,
    pub(super) pieces: u64,
}

/// # Invariants
///
/// There is an entry in `blocks` for each file in `preserved`, at the same place, and `preserved` has
/// room for a file for each token; both but for the time that [`TakenOut`] has the files.
struct Files {
    tokens: RBTree<u64, ()>,
    /// The number of tokens: some belong to files that tasks are preserving.
    count: usize,
    /// In the order in which they were preserved, which is that of freezing. Unpreserving goes the
    /// other way, because a file may depend on those before it.
    preserved: KVVec<OutgoingFile>,
    freezing: Freezing,
    /// Has blocks for all tokens.
    blocks: BlockWriter<FileEntry>,
    /// Those of the files that are preserved, without the blocks.
    pieces: Pieces,
    /// The pages of the files that are preserved.
    pages: u64,
}

impl OutgoingFiles for FileSet {
    fn token_of(&self, file: &File) -> Result<u64> {
        token_of(self.files.lock().preserved.iter(), file)
    }
}

/// Where the next kernel finds the files of a session.
pub(in crate::session) struct Location {
    pub(super) head: PhysAddr,
    pub(super) count: usize,
}

impl Files {
    fn freeze(&mut self, name: &Name) -> Result {
        let blocks = &mut self.blocks;
        let rewrite = |place, entry: &_| blocks.rewrite(place, entry);
        self.freezing.freeze(&mut self.preserved, name, rewrite)
    }

    fn unfreeze(&mut self) {
        self.freezing.unfreeze(&mut self.preserved);
    }

    /// Counts what was preserved while files were frozen.
    fn count_added(&mut self) {
        let added = core::mem::take(&mut self.freezing.added);
        self.pieces.add_elsewhere(added.pieces);
        self.pages += added.pages;
    }

    /// All memory of the session.
    fn all_pieces(&mut self) -> Pieces {
        let mut pieces = self.blocks.pieces();
        pieces.join(&self.pieces);
        pieces
    }

    /// Whether [`TakenOut`] has the files.
    fn are_out(&self) -> bool {
        self.preserved.len() < self.blocks.len()
    }

    /// `frozen` from when a kexec has come to the files, `busy` while a task is preserving one, or
    /// `open`.
    fn state(&self) -> &'static str {
        if self.freezing.done > 0 || self.are_out() {
            "frozen"
        } else if self.count > self.preserved.len() {
            "busy"
        } else {
            "open"
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        while let Some(file) = self.preserved.pop() {
            drop(file);
        }
    }
}

/// The files of a session while `reboot(2)` freezes or unfreezes them, if one is of another module.
/// Handlers are called without the lock, which other callbacks of theirs may wait for.
struct TakenOut<'a> {
    set: &'a FileSet,
    preserved: KVVec<OutgoingFile>,
    freezing: Freezing,
}

impl<'a> TakenOut<'a> {
    fn of(set: &'a FileSet) -> Self {
        let mut files = set.files.lock();
        Self {
            set,
            preserved: core::mem::take(&mut files.preserved),
            freezing: core::mem::take(&mut files.freezing),
        }
    }

    fn freeze(&mut self, name: &Name) -> Result {
        let set = self.set;
        self.freezing
            .freeze(&mut self.preserved, name, |place, entry| {
                set.files.lock().blocks.rewrite(place, entry);
            })
    }

    fn unfreeze(&mut self) {
        self.freezing.unfreeze(&mut self.preserved);
    }

    /// Puts the files back, and locks the set.
    fn put_back(self) -> MutexGuard<'a, Files> {
        let mut files = self.set.files.lock();
        files.preserved = self.preserved;
        files.freezing = self.freezing;
        files
    }
}

impl FileSet {
    /// No files.
    pub(super) fn new(kho: Kho) -> impl PinInit<Self> {
        pin_init!(Self {
            slow: Atomic::new(0),
            files <- new_mutex!(Files {
                tokens: RBTree::new(),
                count: 0,
                preserved: KVVec::new(),
                freezing: Freezing::default(),
                blocks: BlockWriter::new(kho, Charge::Caller),
                pieces: Pieces::default(),
                pages: 0,
            }),
        })
    }

    /// Preserves the file of a file descriptor under `token`.
    ///
    /// `EEXIST` if the token is in use, `EBADF`, `ENOENT` if no handler preserves such a file,
    /// `EBUSY` if some session has the file, `ENOSPC` if there are too many files, `ENOMEM`, and
    /// the errors of [`FileHandler::preserve`](crate::file_handlers::FileHandler::preserve). In this order, as in C.
    ///
    /// # Context
    ///
    /// Sleeps, for a time that grows with the file.
    pub(super) fn preserve(
        &self,
        running: &Running<'_>,
        shared: &Shared,
        call: &Ioctl<'_>,
        token: u64,
        fd: i32,
    ) -> Result {
        let reserved = ReservedToken::new(self, running, token)?;
        let file = fd::get(call, fd)?;
        let handler = shared.handlers.of(&file).ok_or(ENOENT)?;
        let identity = shared.identities.ticket()?.claim(handler.id(&file))?;
        let share = shared.file_limit.take()?;
        let preserved = handler.preserve(shared.kho, file.clone(), self)?;
        reserved.commit(OutgoingFile {
            token,
            data: preserved.data(),
            preserved,
            handler,
            _identity: identity,
            _share: share,
            file,
        })
    }

    /// Finds the errors of [`FileSet::preserve`] that can be found without preserving anything, in
    /// the same order.
    pub(super) fn check(&self, shared: &Shared, call: &Ioctl<'_>, token: u64, fd: i32) -> Result {
        if self.files.lock().tokens.get(&token).is_some() {
            return Err(EEXIST);
        }
        let file = fd::get(call, fd)?;
        let handler = shared.handlers.of(&file).ok_or(ENOENT)?;
        if shared.identities.is_claimed(handler.id(&file)) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Freezes all files, and adds all memory of the session to `pieces`. `name` is that of the
    /// session, for the log.
    ///
    /// An error is that of the first file that cannot be frozen: see
    /// [`PreservedFile::freeze`](crate::file_handlers::PreservedFile::freeze). Files before it stay
    /// frozen until [`FileSet::unfreeze`].
    pub(super) fn freeze(
        &self,
        _stopped: &Stopped<'_>,
        name: &Name,
        pieces: &mut Pieces,
    ) -> Result<Location> {
        let (mut files, result) = if self.is_slow() {
            let mut taken = TakenOut::of(self);
            let result = taken.freeze(name);
            (taken.put_back(), result)
        } else {
            let mut files = self.files.lock();
            let result = files.freeze(name);
            (files, result)
        };
        files.count_added();
        result?;
        pieces.join(&files.all_pieces());
        Ok(Location {
            head: files.blocks.head(),
            count: files.blocks.len(),
        })
    }

    /// The reverse of [`FileSet::freeze`], for those files that are frozen.
    pub(super) fn unfreeze(&self) {
        if self.is_slow() {
            let mut taken = TakenOut::of(self);
            taken.unfreeze();
            drop(taken.put_back());
        } else {
            self.files.lock().unfreeze();
        }
    }

    /// Whether freezing the files may take any time.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Relaxed) != 0
    }

    /// How large the session is, and what is going on. Waits for no handler.
    pub(super) fn status(&self) -> Status {
        let mut files = self.files.lock();
        Status {
            state: files.state(),
            files: files.blocks.len() as u64,
            pages: files.pages,
            pieces: files.all_pieces().count(),
        }
    }

    /// See [`fdinfo`].
    pub(super) fn show(&self, to: &FdInfo<'_>) {
        let mut files = self.files.lock();
        fdinfo::pieces(to, &files.all_pieces());
        let count = files.blocks.len();
        if count > fdinfo::MAX_LISTED || files.are_out() {
            return fdinfo::counts(to, &[("preserved", count)]);
        }
        for file in files.preserved.iter() {
            if to.is_full() {
                break;
            }
            fdinfo::file(to, file.token, file.handler.compatible(), "preserved");
        }
    }
}

/// A token that is in use until its file is preserved. Dropping it frees the token.
struct ReservedToken<'a> {
    set: &'a FileSet,
    token: u64,
}

impl<'a> ReservedToken<'a> {
    /// Reserves the token, the block that its entry goes into, and a place for the file.
    ///
    /// `EEXIST` if the token is in use, `ENOSPC` if the session is full, `ENOMEM`.
    fn new(set: &'a FileSet, _running: &Running<'_>, token: u64) -> Result<Self> {
        // Comes first: if it failed after a block was reserved, the block would stay reserved.
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut files = set.files.lock();
        let files = &mut *files;
        let Entry::Vacant(vacant) = files.tokens.entry(token) else {
            return Err(EEXIST);
        };
        let places = files.count + 1 - files.preserved.len();
        files.preserved.reserve(places, GFP_KERNEL)?;
        files.blocks.reserve(files.count + 1)?;
        vacant.insert((), node);
        files.count += 1;
        Ok(Self { set, token })
    }

    /// Puts the file there, and its entry into the chain.
    fn commit(self, file: OutgoingFile) -> Result {
        let mut files = self.set.files.lock();
        let files = &mut *files;
        // The block and the place were reserved along with the token.
        files.blocks.push(&file.entry())?;
        file.preserved.count_in(&mut files.pieces);
        files.pages += file.preserved.pages();
        if file.handler.is_foreign() {
            self.set.slow.store(1, Relaxed);
        }
        // INVARIANT: This is the file of the entry.
        let _ = files.preserved.push_within_capacity(file);
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for ReservedToken<'_> {
    fn drop(&mut self) {
        let mut files = self.set.files.lock();
        if files.tokens.remove(&self.token).is_some() {
            files.count -= 1;
            let count = files.count;
            files.blocks.shrink(count);
        }
    }
}
