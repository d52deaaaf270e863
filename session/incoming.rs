// SPDX-License-Identifier: GPL-2.0-only

//! Sessions of the previous kernel.
//!
//! They are read when the device is first opened; the files of a session when it is retrieved. A
//! session whose list is damaged cannot be retrieved (`EIO`), a file that is damaged cannot either,
//! and all others can. Damage in the list of sessions makes every open fail with `EIO`.

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
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
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
        luo::{
            FileEntry,
            FlbHeader,
            Root,
            SessionEntry,
            SUBTREE, //
        },
        Memory,
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
        kho::{
            self,
            ClaimedPages,
            Handover, //
        },
        module::ModulePin,
        uarg::{
            liveupdate_ioctl_retrieve_session,
            liveupdate_session_finish,
            liveupdate_session_retrieve_fd,
            UserArg, //
        }, //
    }, //
};

/// All incoming sessions, by name.
pub(super) struct Registry {
    progress: Progress,
    liveupdate_num: u64,
    sessions: RBTree<Name, Arc<Session>>,
    count: usize,
    /// The module stays until the last of them is finished.
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

fn refused(why: Refusal) -> Error {
    file_handlers::refused("session list", why)
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
                    refused(why);
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
        refused(why)
    }

    fn build(&mut self, chain: &ClaimedChain<SessionEntry>) -> Result<Option<Refusal>> {
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
        }
        Ok(None)
    }

    /// Leaves a root that says that there is nothing more, for when the module is loaded again:
    /// KHO will go on to say where the root is.
    fn retire(&self, at: PhysAddr, root: Root) {
        let flbs = PhysAddr(root.flbs);
        if !flbs.is_null() {
            match Handover.record::<FlbHeader>(flbs) {
                Ok(FlbHeader { pages: 1, count: 0 }) => {
                    drop(ClaimedPages::claim(flbs, 0));
                }
                Ok(FlbHeader { count, .. }) => {
                    pr_warn!("{count} objects bound to files are of no known kind, and stay\n");
                }
                Err(why) => {
                    file_handlers::refused("the list of objects bound to files", why);
                }
            }
        }
        let empty = Root {
            sessions: 0,
            flbs: 0,
            ..root
        };
        if let Err(why) = Handover.rewrite(at, &empty) {
            refused(why);
        }
    }

    fn remove(&mut self, name: &Name) {
        if self.sessions.remove(name).is_some() {
            self.count -= 1;
            if self.count == 0 {
                self.pin = None;
            }
        }
    }
}

/// An incoming session.
#[pin_data]
struct Session {
    name: Name,
    first: PhysAddr,
    said: u64,
    #[pin]
    state: Mutex<State>,
}

struct State {
    /// There is a file of the session.
    taken: bool,
    files: Files,
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
    fn new(name: Name, first: PhysAddr, said: u64) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                name,
                first,
                said,
                state <- new_mutex!(State {
                    taken: false,
                    files: Files::Unread,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// `EINVAL` if somebody has the session, `EIO` if its list of files is damaged, `ENOMEM`.
    fn take(&self) -> Result {
        let mut state = self.state.lock();
        if state.taken {
            return Err(EINVAL);
        }
        self.read(&mut state.files)?;
        state.taken = true;
        Ok(())
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
        let survey =
            chain::survey::<FileEntry>(&Handover, self.first).map_err(NotClaimed::Refused)?;
        if survey.entries as u64 != self.said {
            let why = Refusal::EntryCount(self.said, survey.entries as u64);
            return Err(NotClaimed::Refused(why));
        }
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
    /// The user was told about it, so that closing it means something.
    delivered: Atomic<i32>,
}

/// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
pub(super) fn retrieve(orchestrator: &Arc<Orchestrator>, arg: &UserArg) -> Result {
    let mut args: liveupdate_ioctl_retrieve_session = arg.read()?;
    let name = Name::new(&args.name).ok_or(EINVAL)?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(fd::O_CLOEXEC)?;
    let _running = orchestrator.freeze.read();

    let session = match orchestrator.incoming.lock().sessions.get(&name) {
        Some(session) => session.clone(),
        None => return Err(ENOENT),
    };
    let room = KBox::new_uninit(GFP_KERNEL)?;
    session.take()?;
    let delivered = Atomic::new(0);
    let value = room.write(SessionFile {
        orchestrator: orchestrator.clone(),
        session: session.clone(),
        delivered,
    });
    let mut buffer = [0; 96];
    let file = name.file_name(&mut buffer).and_then(|name| {
        anon_file::open(name, value).inspect_err(|_| session.state.lock().taken = false)
    })?;
    args.fd = fd.reserved_fd() as i32;
    arg.write(&args)?;
    SessionFile::deliver(&file)?;
    fd.fd_install(file);
    Ok(())
}

impl SessionFile {
    fn deliver(file: &File) -> Result {
        let this = anon_file::value::<Self>(file).ok_or(EINVAL)?;
        this.delivered.store(1, Relaxed);
        Ok(())
    }

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
        if self.delivered.load(Relaxed) == 0 {
            self.session.state.lock().taken = false;
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
                self.session.state.lock().taken = false;
            }
        }
    }
}
