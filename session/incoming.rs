// SPDX-License-Identifier: GPL-2.0-only

//! Sessions of the previous kernel.
//!
//! The files of a session are read when it is retrieved. A session whose list of files is damaged
//! cannot be retrieved (`EIO`), a file that is damaged cannot either, and all others can.

use kernel::{
    fs::file::{
        File,
        FileDescriptorReservation, //
    },
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};

use super::{
    blocks::{
        ClaimedChain,
        NotClaimed, //
    },
    identities::{
        Claim,
        Identities, //
    },
    name::Name,
    Orchestrator,
    SessionCommand, //
};
use crate::{
    abi::{
        chain,
        luo::FileEntry,
        PhysAddr,
        Refusal, //
    },
    file_handlers::{
        self,
        Handler, //
    },
    kapi::{
        anon_file::{
            self,
            AnonFile, //
        },
        fd,
        kho::Handover,
        uarg::{
            liveupdate_ioctl_retrieve_session,
            liveupdate_session_finish,
            liveupdate_session_retrieve_fd,
            UserArg, //
        }, //
    }, //
};

/// An incoming session.
#[pin_data]
pub(super) struct Session {
    name: Name,
    first: PhysAddr,
    said: u64,
    #[pin]
    state: Mutex<State>,
}

struct State {
    holder: Holder,
    files: Files,
}

/// Who has a file of the session.
#[derive(PartialEq, Eq)]
enum Holder {
    Nobody,
    /// The caller of `retrieve_session`, if the answer can be copied out.
    Offered,
    /// A user, who finishes the session by closing it.
    User,
}

type Tree = RBTree<u64, Arc<IncomingFile>>;

enum Files {
    Unread,
    /// The list is ours, but there was no memory to go on.
    Claimed(ClaimedChain<FileEntry>),
    Read(Tree),
    Damaged,
}

impl Session {
    /// A session whose list of `said` files begins at `first`. `ENOMEM`.
    pub(super) fn new(name: Name, first: PhysAddr, said: u64) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                name,
                first,
                said,
                state <- new_mutex!(State {
                    holder: Holder::Nobody,
                    files: Files::Unread,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// `EINVAL` if somebody has the session, `EIO` if its list of files is damaged, `ENOMEM`.
    fn take(&self) -> Result {
        let mut state = self.state.lock();
        if state.holder != Holder::Nobody {
            return Err(EINVAL);
        }
        self.read(&mut state.files)?;
        state.holder = Holder::Offered;
        Ok(())
    }

    fn set_holder(&self, holder: Holder) {
        self.state.lock().holder = holder;
    }

    fn read(&self, files: &mut Files) -> Result {
        let chain = match core::mem::replace(files, Files::Damaged) {
            Files::Damaged => return Err(EIO),
            Files::Read(tree) => {
                *files = Files::Read(tree);
                return Ok(());
            }
            Files::Claimed(chain) => chain,
            Files::Unread => match self.claim() {
                Ok(chain) => chain,
                Err(NotClaimed::OutOfMemory) => {
                    *files = Files::Unread;
                    return Err(ENOMEM);
                }
                Err(NotClaimed::Refused(why)) => return Err(self.refused(why)),
            },
        };
        match Self::build(&chain) {
            Ok(Ok(tree)) => *files = Files::Read(tree),
            Ok(Err(why)) => return Err(self.refused(why)),
            Err(err) => {
                *files = Files::Claimed(chain);
                return Err(err);
            }
        }
        Ok(())
    }

    fn refused(&self, why: Refusal) -> Error {
        pr_err!(
            "session {} from the previous kernel is damaged: {why}\n",
            self.name
        );
        EIO
    }

    fn claim(&self) -> Result<ClaimedChain<FileEntry>, NotClaimed> {
        let survey = chain::survey::<FileEntry>(&Handover, self.first)
            .and_then(|found| found.expect(self.said))
            .map_err(NotClaimed::Refused)?;
        ClaimedChain::claim(self.first, survey)
    }

    fn build(chain: &ClaimedChain<FileEntry>) -> Result<Result<Tree, Refusal>> {
        let mut tree = Tree::new();
        for entry in chain.entries() {
            if tree.get(&entry.token).is_some() {
                return Ok(Err(Refusal::DuplicateToken(entry.token)));
            }
            let file = IncomingFile::new(&entry)?;
            tree.try_create_and_insert(entry.token, file, GFP_KERNEL)?;
        }
        Ok(Ok(tree))
    }

    /// The file of `token`; the same one each time.
    fn retrieve_file(&self, token: u64, identities: &Arc<Identities>) -> Result<ARef<File>> {
        let file = match &self.state.lock().files {
            Files::Read(tree) => tree.get(&token).ok_or(ENOENT)?.clone(),
            _ => return Err(ENOENT),
        };
        file.retrieve(identities)
    }

    /// Gives everything that was not retrieved back to the kernel, and lets go of the rest. That
    /// happens only if all files are ready for it and `copy_out` succeeds.
    fn finish(&self, copy_out: impl FnOnce() -> Result) -> Result {
        let mut state = self.state.lock();
        if let Files::Read(tree) = &state.files {
            if tree.values().any(|file| !file.can_finish()) {
                return Err(EBUSY);
            }
        }
        copy_out()?;
        let files = core::mem::replace(&mut state.files, Files::Read(Tree::new()));
        drop(state);
        if let Files::Read(tree) = files {
            for file in tree.values() {
                file.finish();
            }
        }
        Ok(())
    }
}

/// A file of the previous kernel.
#[pin_data]
struct IncomingFile {
    /// `None` if nobody here knows what it is.
    handler: Option<Handler>,
    data: PhysAddr,
    #[pin]
    state: Mutex<FileState>,
}

enum FileState {
    Pending,
    Retrieved {
        _identity: Claim,
        file: ARef<File>,
    },
    Failed(Error),
    /// The session was finished.
    Gone,
}

impl IncomingFile {
    fn new(entry: &FileEntry) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                handler: Handler::find(&entry.compatible),
                data: PhysAddr(entry.data),
                state <- new_mutex!(FileState::Pending),
            }),
            GFP_KERNEL,
        )
    }

    fn retrieve(&self, identities: &Arc<Identities>) -> Result<ARef<File>> {
        let mut state = self.state.lock();
        match &*state {
            FileState::Retrieved { file, .. } => return Ok(file.clone()),
            FileState::Failed(err) => return Err(*err),
            FileState::Gone => return Err(ENOENT),
            FileState::Pending => {}
        }
        // What can fail for a reason that passes comes before what is tried only once.
        let ticket = identities.ticket()?;
        let retrieved = self
            .handler
            .ok_or(EOPNOTSUPP)
            .and_then(|handler| handler.retrieve(self.data))
            .and_then(|file| {
                let (_, id) = file_handlers::identify(&file).ok_or(EIO)?;
                Ok((ticket.claim(id)?, file))
            });
        match retrieved {
            Ok((identity, file)) => {
                *state = FileState::Retrieved {
                    _identity: identity,
                    file: file.clone(),
                };
                Ok(file)
            }
            Err(err) => {
                *state = FileState::Failed(err);
                Err(err)
            }
        }
    }

    fn can_finish(&self) -> bool {
        match (&*self.state.lock(), self.handler) {
            (FileState::Pending, Some(handler)) => handler.can_finish_untouched(),
            _ => true,
        }
    }

    fn finish(&self) {
        let last = core::mem::replace(&mut *self.state.lock(), FileState::Gone);
        if let (FileState::Pending, Some(handler)) = (last, self.handler) {
            handler.discard(self.data);
        }
    }

    fn state_name(&self) -> &'static str {
        match &*self.state.lock() {
            FileState::Pending => "pending",
            FileState::Retrieved { .. } => "retrieved",
            FileState::Failed(_) => "failed",
            FileState::Gone => "finished",
        }
    }
}

/// The file of an incoming session.
struct SessionFile {
    orchestrator: Arc<Orchestrator>,
    session: Arc<Session>,
}

/// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
pub(super) fn retrieve(orchestrator: &Arc<Orchestrator>, arg: &UserArg) -> Result {
    let mut args: liveupdate_ioctl_retrieve_session = arg.read()?;
    let name = Name::new(&args.name).ok_or(EINVAL)?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(fd::O_CLOEXEC)?;
    let _running = orchestrator.freeze.read();

    let session = orchestrator.incoming.lock().find(&name).ok_or(ENOENT)?;
    let room = KBox::new_uninit(GFP_KERNEL)?;
    let mut buffer = [0; 96];
    let file_name = name.file_name(&mut buffer)?;
    session.take()?;
    let value = room.write(SessionFile {
        orchestrator: orchestrator.clone(),
        session: session.clone(),
    });
    let file =
        anon_file::open(file_name, value).inspect_err(|_| session.set_holder(Holder::Nobody))?;
    args.fd = fd.reserved_fd() as i32;
    // If this fails the file is closed before the caller continues, and the session is free again.
    arg.write(&args)?;
    session.set_holder(Holder::User);
    fd.fd_install(file);
    Ok(())
}

impl SessionFile {
    fn retrieve_fd(&self, arg: &UserArg) -> Result {
        let mut args: liveupdate_session_retrieve_fd = arg.read()?;
        let fd = FileDescriptorReservation::get_unused_fd_flags(fd::O_CLOEXEC)?;
        // A caller that cannot be answered must not change anything.
        arg.write(&args)?;
        let _running = self.orchestrator.freeze.read();
        let file = self
            .session
            .retrieve_file(args.token, &self.orchestrator.identities)?;
        args.fd = fd.reserved_fd() as i32;
        arg.write(&args)?;
        fd.fd_install(file);
        Ok(())
    }

    fn finish(&self, arg: &UserArg) -> Result {
        let args: liveupdate_session_finish = arg.read()?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        let _running = self.orchestrator.freeze.read();
        self.session.finish(|| arg.write(&args))
    }
}

impl AnonFile for SessionFile {
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        let command = SessionCommand::new(cmd, arg)?;
        match command.nr {
            SessionCommand::RETRIEVE_FD => self.retrieve_fd(&command.arg)?,
            SessionCommand::FINISH => self.finish(&command.arg)?,
            SessionCommand::GET_NAME => command.get_name(&self.session.name)?,
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    fn show_fdinfo(&self, to: &SeqFile) {
        seq_print!(
            to,
            "luo-name:\t{}\nluo-direction:\tincoming\n",
            self.session.name
        );
        if let Files::Read(tree) = &self.session.state.lock().files {
            for (token, file) in tree.iter() {
                let handler = file.handler.map_or("unknown", Handler::compatible);
                let state = file.state_name();
                seq_print!(
                    to,
                    "luo-file:\ttoken={token:#x} handler={handler} state={state}\n"
                );
            }
        }
    }

    fn release(self) {
        let _running = self.orchestrator.freeze.read();
        if self.session.state.lock().holder == Holder::Offered {
            self.session.set_holder(Holder::Nobody);
            return;
        }
        match self.session.finish(|| Ok(())) {
            Ok(()) => self.orchestrator.incoming.lock().remove(&self.session.name),
            Err(err) => {
                pr_warn!(
                    "session {} was closed, but cannot be finished yet: {}\n",
                    self.session.name,
                    err.to_errno()
                );
                self.session.set_holder(Holder::Nobody);
            }
        }
    }
}
