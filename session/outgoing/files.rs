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
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Mutex,
        MutexGuard, //
    }, //
};

use super::super::{
    blocks::BlockWriter,
    fdinfo,
    freeze::{
        Running, //
        Stopped,
    },
    identities::Claim,
    limits::Share,
    name::Name,
    shared::Shared, //
};
use crate::{
    abi::{
        luo::{
            padded,
            FileEntry, //
        },
        pieces::Pieces,
        PhysAddr, //
    },
    file_handlers::{
        Added,
        CountedFile,
        Handler, //
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
    /// How many files are frozen: those at the start.
    frozen: usize,
    /// Has blocks for all tokens.
    blocks: BlockWriter<FileEntry>,
    /// Those of the files that are preserved, without the blocks.
    pieces: Pieces,
    /// The pages of the files that are preserved.
    pages: u64,
}

/// A preserved file. Fields are dropped in order: the file is unpreserved before any other session
/// may claim it, its number is given up while the file that has it still exists, and the module of its
/// handler may go after all that.
struct OutgoingFile {
    token: u64,
    /// What its entry says.
    data: u64,
    preserved: KBox<dyn CountedFile>,
    _identity: Claim,
    _share: Share,
    file: ARef<File>,
    handler: Handler,
}

impl OutgoingFile {
    fn entry(&self) -> FileEntry {
        FileEntry {
            compatible: padded(self.handler.compatible()),
            data: self.data,
            token: self.token,
        }
    }
}

/// The token of a file among these. `ENOENT` if it is none of them.
fn token_of<'a>(mut files: impl Iterator<Item = &'a OutgoingFile>, file: &File) -> Result<u64> {
    let found = files.find(|other| core::ptr::eq(&*other.file, file));
    Ok(found.ok_or(ENOENT)?.token)
}

/// The files of a session but the one that is being frozen.
struct Others<'a> {
    before: &'a [OutgoingFile],
    after: &'a [OutgoingFile],
}

impl OutgoingFiles for Others<'_> {
    fn token_of(&self, file: &File) -> Result<u64> {
        token_of(Iterator::chain(self.before.iter(), self.after), file)
    }
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
        if self.frozen > 0 || self.are_out() {
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

/// The files of a session while `reboot(2)` freezes or unfreezes them. Handlers are called without the
/// lock, which other callbacks of theirs may wait for.
struct TakenOut<'a> {
    set: &'a FileSet,
    preserved: KVVec<OutgoingFile>,
    /// As in [`Files`].
    frozen: usize,
    added: Added,
}

impl<'a> TakenOut<'a> {
    fn of(set: &'a FileSet) -> Self {
        let mut files = set.files.lock();
        Self {
            set,
            preserved: core::mem::take(&mut files.preserved),
            frozen: files.frozen,
            added: Added::default(),
        }
    }

    /// Freezes the files that are not frozen, up to the first that refuses.
    fn freeze(&mut self, name: &Name) -> Result {
        while let Some((before, [file, after @ ..])) =
            self.preserved.split_at_mut_checked(self.frozen)
        {
            let others = Others { before, after };
            let frozen = file.preserved.freeze(&others);
            // What was preserved stays so, also after an error.
            self.added.join(file.preserved.take_added());
            frozen.inspect_err(|err| report_refusal(name, file, *err))?;
            let data = file.preserved.data();
            if data != file.data {
                file.data = data;
                let mut files = self.set.files.lock();
                files.blocks.rewrite(self.frozen, &file.entry());
            }
            self.frozen += 1;
        }
        Ok(())
    }

    /// The reverse of [`TakenOut::freeze`].
    fn unfreeze(&mut self) {
        let frozen = self.preserved.iter_mut().take(self.frozen);
        for file in frozen.rev() {
            file.preserved.unfreeze();
        }
        self.frozen = 0;
    }

    /// Puts the files back, and locks the set.
    fn put_back(self) -> MutexGuard<'a, Files> {
        let mut files = self.set.files.lock();
        files.preserved = self.preserved;
        files.frozen = self.frozen;
        files.pieces.add_elsewhere(self.added.pieces);
        files.pages += self.added.pages;
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
                frozen: 0,
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
    /// [`PreservedFile::freeze`](crate::file_handlers::PreservedFile::freeze).
    pub(super) fn freeze(
        &self,
        _stopped: &Stopped<'_>,
        name: &Name,
        pieces: &mut Pieces,
    ) -> Result<Location> {
        let mut taken = TakenOut::of(self);
        let result = taken.freeze(name).inspect_err(|_| taken.unfreeze());
        let mut files = taken.put_back();
        result?;
        pieces.join(&files.all_pieces());
        Ok(Location {
            head: files.blocks.head(),
            count: files.blocks.len(),
        })
    }

    /// The reverse of [`FileSet::freeze`], if the files are frozen.
    pub(super) fn unfreeze(&self) {
        let mut taken = TakenOut::of(self);
        taken.unfreeze();
        drop(taken.put_back());
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

/// Names the file that refuses the kexec.
#[cold]
fn report_refusal(name: &Name, file: &OutgoingFile, err: Error) {
    pr_err!(
        "kexec refused: {} file {:#x} of session {name} cannot be frozen: {}\n",
        file.handler.compatible(),
        file.token,
        err.to_errno()
    );
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
