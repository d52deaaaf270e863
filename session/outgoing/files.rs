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
        Mutex, //
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
        self,
        Handler,
        PreservedFile, //
    },
    kapi::{
        anon_file::FdInfo,
        fd,
        ioctl::Ioctl,
        kho::{
            Charge,
            Kho, //
        }, //
    }, //
};

/// The files of a session. Dropping them unpreserves them.
#[pin_data]
pub(super) struct FileSet {
    #[pin]
    files: Mutex<Files>,
}

struct Files {
    by_token: RBTree<u64, Slot>,
    /// The number of slots.
    count: usize,
    /// Has blocks for all slots, and an entry for each file that is preserved.
    blocks: BlockWriter<FileEntry>,
    /// Those of the files that are preserved, without the blocks.
    pieces: Pieces,
}

enum Slot {
    /// The token is in use; a task is preserving the file.
    Reserved,
    Preserved(OutgoingFile),
}

/// A preserved file. Fields are dropped in order: the file is unpreserved before any other session
/// may claim it, and its number is given up while the file that has it still exists.
struct OutgoingFile {
    preserved: KBox<dyn PreservedFile>,
    handler: Handler,
    _identity: Claim,
    _share: Share,
    _file: ARef<File>,
}

/// Where the next kernel finds the files of a session.
pub(in crate::session) struct Location {
    pub(super) head: PhysAddr,
    pub(super) count: usize,
}

impl Files {
    /// The files that are preserved, by token.
    fn preserved(&self) -> impl Iterator<Item = (&u64, &OutgoingFile)> {
        self.by_token.iter().filter_map(|(token, slot)| match slot {
            Slot::Preserved(file) => Some((token, file)),
            Slot::Reserved => None,
        })
    }

    /// All memory of the session.
    fn all_pieces(&mut self) -> Pieces {
        let mut pieces = self.blocks.pieces();
        pieces.join(&self.pieces);
        pieces
    }
}

impl FileSet {
    /// No files.
    pub(super) fn new(kho: Kho) -> impl PinInit<Self> {
        pin_init!(Self {
            files <- new_mutex!(Files {
                by_token: RBTree::new(),
                count: 0,
                blocks: BlockWriter::new(kho, Charge::Caller),
                pieces: Pieces::default(),
            }),
        })
    }

    /// Preserves the file of a file descriptor under `token`.
    ///
    /// `EEXIST` if the token is in use, `EBADF`, `ENOENT` if no handler preserves such a file,
    /// `EBUSY` if some session has the file, `ENOSPC` if there are too many files, `ENOMEM`, and
    /// the errors of [`file_handlers::FileHandler::preserve`]. In this order, as in C.
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
        let (handler, id) = file_handlers::identify(&file).ok_or(ENOENT)?;
        let identity = shared.identities.ticket()?.claim(id)?;
        let share = shared.file_limit.take()?;
        reserved.commit(OutgoingFile {
            preserved: handler.preserve(shared.kho, file.clone())?,
            handler,
            _identity: identity,
            _share: share,
            _file: file,
        })
    }

    /// Finds the errors of [`FileSet::preserve`] that can be found without preserving anything, in
    /// the same order.
    pub(super) fn check(&self, shared: &Shared, call: &Ioctl<'_>, token: u64, fd: i32) -> Result {
        if self.files.lock().by_token.get(&token).is_some() {
            return Err(EEXIST);
        }
        let file = fd::get(call, fd)?;
        let (_, id) = file_handlers::identify(&file).ok_or(ENOENT)?;
        if shared.identities.is_claimed(id) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Freezes all files, and adds all memory of the session to `pieces`. `name` is that of the
    /// session, for the log.
    ///
    /// An error is that of the first file that cannot be frozen: see
    /// [`PreservedFile::freeze`](file_handlers::PreservedFile::freeze).
    pub(super) fn freeze(
        &self,
        _stopped: &Stopped<'_>,
        name: &Name,
        pieces: &mut Pieces,
    ) -> Result<Location> {
        let mut files = self.files.lock();
        let files = &mut *files;
        for (token, slot) in files.by_token.iter_mut() {
            if let Slot::Preserved(file) = slot {
                file.preserved
                    .freeze(&mut files.pieces)
                    .inspect_err(|err| report_refusal(name, *token, file.handler, *err))?;
            }
        }
        pieces.join(&files.all_pieces());
        Ok(Location {
            head: files.blocks.head(),
            count: files.blocks.len(),
        })
    }

    /// See [`fdinfo`].
    pub(super) fn show(&self, to: &FdInfo<'_>) {
        let mut files = self.files.lock();
        fdinfo::pieces(to, &files.all_pieces());
        let count = files.blocks.len();
        if count > fdinfo::MAX_LISTED {
            return fdinfo::counts(to, &[("preserved", count)]);
        }
        for (token, file) in files.preserved() {
            if to.is_full() {
                break;
            }
            fdinfo::file(to, *token, file.handler.compatible(), "preserved");
        }
    }
}

/// Names the file that refuses the kexec.
#[cold]
fn report_refusal(name: &Name, token: u64, handler: Handler, err: Error) {
    pr_err!(
        "kexec refused: {} file {token:#x} of session {name} cannot be frozen: {}\n",
        handler.compatible(),
        err.to_errno()
    );
}

/// A token that is in use until its file is preserved. Dropping it frees the token.
struct ReservedToken<'a> {
    set: &'a FileSet,
    token: u64,
}

impl<'a> ReservedToken<'a> {
    /// Reserves the token, and the block that its entry goes into.
    ///
    /// `EEXIST` if the token is in use, `ENOSPC` if the session is full, `ENOMEM`.
    fn new(set: &'a FileSet, _running: &Running<'_>, token: u64) -> Result<Self> {
        // Comes first: if it failed after a block was reserved, the block would stay reserved.
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut files = set.files.lock();
        let files = &mut *files;
        let Entry::Vacant(vacant) = files.by_token.entry(token) else {
            return Err(EEXIST);
        };
        files.blocks.reserve(files.count + 1)?;
        vacant.insert(Slot::Reserved, node);
        files.count += 1;
        Ok(Self { set, token })
    }

    /// Puts the file there, and its entry into the chain.
    fn commit(self, file: OutgoingFile) -> Result {
        let entry = FileEntry {
            compatible: padded(file.handler.compatible()),
            data: file.preserved.data(),
            token: self.token,
        };
        let mut files = self.set.files.lock();
        // The block was reserved along with the token.
        files.blocks.push(&entry)?;
        file.preserved.count_in(&mut files.pieces);
        if let Some(slot) = files.by_token.get_mut(&self.token) {
            *slot = Slot::Preserved(file);
        }
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for ReservedToken<'_> {
    fn drop(&mut self) {
        let mut files = self.set.files.lock();
        if files.by_token.remove(&self.token).is_some() {
            files.count -= 1;
            let count = files.count;
            files.blocks.shrink(count);
        }
    }
}
