// SPDX-License-Identifier: GPL-2.0-only

//! Sessions of this kernel, which the next one will get.
//!
//! A session is there as long as its file is open; closing it gives everything in it back. What
//! the next kernel reads is kept up to date as files come, so that at `reboot(2)` only positions
//! and the list of sessions have to be written.

use kernel::{
    fs::file::{
        File,
        FileDescriptorReservation, //
    },
    new_mutex,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};

use super::{
    blocks::BlockWriter,
    identities::Claim,
    limits::Share,
    name::Name,
    table::{
        Named,
        Table, //
    },
    Orchestrator,
    SessionCommand, //
};
use crate::{
    abi::{
        luo::{
            FileEntry,
            SessionEntry, //
        },
        PhysAddr, //
    },
    file_handlers::{
        self,
        Handler,
        Outgoing, //
    },
    kapi::{
        anon_file::{
            self,
            AnonFile, //
        },
        fd,
        kho::{
            Charge,
            Kho, //
        },
        uarg::{
            liveupdate_ioctl_create_session,
            liveupdate_session_preserve_fd,
            UserArg, //
        }, //
    }, //
};

/// All outgoing sessions.
pub(super) struct Registry {
    most: usize,
    sessions: Table<Arc<Session>>,
    /// Has room for all of them.
    blocks: BlockWriter<SessionEntry>,
}

/// What a serialization wrote.
pub(super) struct Written {
    pub(super) head: PhysAddr,
    pub(super) sessions: usize,
    pub(super) files: usize,
}

impl Registry {
    /// There are never more than `most` sessions, where 0 is no limit.
    pub(super) fn new(kho: Kho, most: u32) -> Self {
        Self {
            most: if most == 0 { usize::MAX } else { most as usize },
            sessions: Table::new(),
            blocks: BlockWriter::new(kho, Charge::Nobody),
        }
    }

    /// `EEXIST` if the name is in use, `ENOSPC` if there is no room for so many, `ENOMEM`.
    fn insert(&mut self, session: &Arc<Session>) -> Result {
        self.sessions.insert(session.clone())?;
        let count = self.sessions.len();
        let room = if count > self.most {
            Err(ENOSPC)
        } else {
            self.blocks.reserve(count)
        };
        room.inspect_err(|_| self.remove(&session.name))
    }

    fn remove(&mut self, name: &Name) {
        if self.sessions.remove(name) {
            self.blocks.shrink(self.sessions.len());
        }
    }

    /// As [`Registry::remove`], without a comparison of names.
    fn remove_this(&mut self, session: &Session) {
        let this = |other: &Arc<Session>| core::ptr::eq(&**other, session);
        if self.sessions.remove_this(session.name.hash(), this) {
            self.blocks.shrink(self.sessions.len());
        }
    }

    /// Freezes all files and writes all sessions. After an error nothing of that counts.
    ///
    /// Context: nobody else is in an ioctl or closing a session.
    pub(super) fn serialize(&mut self) -> Result<Written> {
        let mut files = 0;
        self.blocks.rewind();
        for session in self.sessions.iter() {
            match session.freeze(&mut self.blocks) {
                Ok(count) => files += count,
                Err(err) => {
                    self.blocks.rewind();
                    return Err(err);
                }
            }
        }
        Ok(Written {
            head: self.blocks.head(),
            sessions: self.blocks.len(),
            files,
        })
    }
}

/// An outgoing session. Its file and the registry refer to it; the registry, which is part of the
/// orchestrator that the session refers to, lets go of it when the file is closed.
#[pin_data]
pub(super) struct Session {
    orchestrator: Arc<Orchestrator>,
    name: Name,
    /// None before the first: many sessions are closed again without one, and an empty tree is
    /// something to free too.
    #[pin]
    files: Mutex<Option<Files>>,
}

impl Named for Session {
    fn name(&self) -> &Name {
        &self.name
    }
}

struct Files {
    by_token: RBTree<u64, Slot>,
    count: usize,
    /// Has room for all slots, and an entry for each file that is preserved.
    blocks: BlockWriter<FileEntry>,
}

impl Files {
    fn new(kho: Kho) -> Self {
        Self {
            by_token: RBTree::new(),
            count: 0,
            blocks: BlockWriter::new(kho, Charge::Caller),
        }
    }

    /// The files that are preserved, by token.
    fn preserved(&self) -> impl Iterator<Item = (&u64, &PreservedFile)> {
        self.by_token.iter().filter_map(|(token, slot)| match slot {
            Slot::Preserved(file) => Some((token, file)),
            Slot::Reserved => None,
        })
    }
}

enum Slot {
    /// The token is taken, the file is on its way.
    Reserved,
    Preserved(PreservedFile),
}

/// A preserved file. Fields are dropped in order: the file goes last.
struct PreservedFile {
    outgoing: Outgoing,
    handler: Handler,
    _identity: Claim,
    _share: Share,
    _file: ARef<File>,
}

impl Session {
    fn new(orchestrator: Arc<Orchestrator>, name: Name) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                orchestrator,
                name,
                files <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Preserves a file under `token`.
    fn preserve(&self, token: u64, fd: i32) -> Result {
        let reserved = ReservedToken::new(self, token)?;
        let file = fd::get(fd)?;
        let (handler, id) = file_handlers::identify(&file).ok_or(ENOENT)?;
        let identity = self.orchestrator.identities.ticket()?.claim(id)?;
        let share = self.orchestrator.file_limit.take()?;
        let preserved = PreservedFile {
            outgoing: Outgoing::preserve(self.orchestrator.kho, handler, file.clone())?,
            handler,
            _identity: identity,
            _share: share,
            _file: file,
        };
        reserved.commit(preserved)
    }

    /// Writes what can change until the last moment, and where the next kernel finds the files;
    /// gives their number.
    fn freeze(&self, sessions: &mut BlockWriter<SessionEntry>) -> Result<usize> {
        let mut files = self.files.lock();
        let (mut head, mut count) = (PhysAddr(0), 0);
        if let Some(files) = &mut *files {
            for (token, slot) in files.by_token.iter_mut() {
                if let Slot::Preserved(file) = slot {
                    file.outgoing
                        .freeze()
                        .inspect_err(|err| self.cannot_freeze(*token, file, err))?;
                }
            }
            (head, count) = (files.blocks.head(), files.blocks.len());
        }
        sessions.push(&SessionEntry {
            name: *self.name.as_field(),
            files: head.0,
            count: count as u64,
        })?;
        Ok(count)
    }

    /// Says which file refuses the kexec.
    #[cold]
    fn cannot_freeze(&self, token: u64, file: &PreservedFile, err: &Error) {
        pr_err!(
            "kexec refused: {} file {token:#x} of session {} cannot be frozen: {}\n",
            file.handler.compatible(),
            self.name,
            err.to_errno()
        );
    }
}

/// A token that is taken until the file is there; dropping it frees the token.
struct ReservedToken<'a> {
    session: &'a Session,
    token: u64,
}

impl<'a> ReservedToken<'a> {
    /// `EEXIST` if the token is in use, `ENOSPC` if the session is full, `ENOMEM`.
    fn new(session: &'a Session, token: u64) -> Result<Self> {
        let mut files = session.files.lock();
        let files = files.get_or_insert_with(|| Files::new(session.orchestrator.kho));
        let Entry::Vacant(place) = files.by_token.entry(token) else {
            return Err(EEXIST);
        };
        files.blocks.reserve(files.count + 1)?;
        place.insert(Slot::Reserved, RBTreeNodeReservation::new(GFP_KERNEL)?);
        files.count += 1;
        Ok(Self { session, token })
    }

    fn commit(self, file: PreservedFile) -> Result {
        let entry = FileEntry {
            compatible: file.handler.compatible_field(),
            data: file.outgoing.data().0,
            token: self.token,
        };
        let mut files = self.session.files.lock();
        // They are there, and room was reserved along with the token.
        let files = (*files).as_mut().ok_or(ENOSPC)?;
        files.blocks.push(&entry)?;
        if let Some(slot) = files.by_token.get_mut(&self.token) {
            *slot = Slot::Preserved(file);
        }
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for ReservedToken<'_> {
    fn drop(&mut self) {
        let mut files = self.session.files.lock();
        let Some(files) = (*files).as_mut() else {
            return;
        };
        if files.by_token.remove(&self.token).is_some() {
            files.count -= 1;
            let count = files.count;
            files.blocks.shrink(count);
        }
    }
}

/// `LIVEUPDATE_IOCTL_CREATE_SESSION`.
pub(super) fn create(orchestrator: &Arc<Orchestrator>, arg: &UserArg) -> Result {
    let mut args: liveupdate_ioctl_create_session = arg.read()?;
    let name = Name::new(&args.name).ok_or(EINVAL)?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(fd::O_CLOEXEC)?;
    let running = orchestrator.freeze.read();

    let session = Session::new(orchestrator.clone(), name)?;
    let mut buffer = [0; 96];
    let file_name = name.file_name(&mut buffer)?;
    orchestrator.outgoing.lock().insert(&session)?;
    let file = anon_file::open(file_name, session)
        .inspect_err(|_| orchestrator.outgoing.lock().remove(&name))?;
    drop(running);
    args.fd = fd.reserved_fd() as i32;
    // If this fails the file is closed before the caller continues, and the session with it.
    arg.write(&args)?;
    fd.fd_install(file);
    Ok(())
}

impl AnonFile for Session {
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        let command = SessionCommand::new(cmd, arg)?;
        match command.nr {
            SessionCommand::PRESERVE_FD => {
                let args: liveupdate_session_preserve_fd = command.arg.read()?;
                // What goes out is what came in. It comes first, because who cannot be answered must
                // not have changed anything, and nobody shall wait for memory of the caller.
                command.arg.write(&args)?;
                let _running = self.orchestrator.freeze.read();
                self.preserve(args.token, args.fd)?;
            }
            SessionCommand::GET_NAME => command.get_name(&self.name)?,
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    fn show_fdinfo(&self, to: &SeqFile) {
        seq_print!(to, "luo-name:\t{}\nluo-direction:\toutgoing\n", self.name);
        for (token, file) in self.files.lock().iter().flat_map(Files::preserved) {
            let handler = file.handler.compatible();
            seq_print!(
                to,
                "luo-file:\ttoken={token:#x} handler={handler} state=preserved\n"
            );
        }
    }

    fn release(self: Arc<Self>) {
        let _running = self.orchestrator.freeze.read();
        self.orchestrator.outgoing.lock().remove_this(&self);
        // This gives them back before a kexec can be entered. Nobody is left to wait for the lock.
        *self.files.lock() = None;
    }
}
