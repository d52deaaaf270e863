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
    new_condvar,
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        CondVar,
        Mutex,
        MutexGuard, //
    }, //
};

use super::{
    files::{
        FileList,
        FileState,
        Files,
        IncomingFile,
        NotRead, //
    },
    name::Name,
    Orchestrator,
    SessionCommand, //
};
use crate::{
    abi::Damage,
    file_handlers::Failure,
    kapi::{
        anon_file::{
            self,
            AnonFile, //
        },
        fd,
        uarg::{
            liveupdate_ioctl_retrieve_session,
            liveupdate_session_finish,
            liveupdate_session_retrieve_fd,
            UserArg, //
        }, //
    }, //
};

/// An incoming session that somebody has. There is one for each time that it is retrieved; while
/// nobody has it, its files are in the registry.
#[pin_data]
pub(super) struct Session {
    orchestrator: Arc<Orchestrator>,
    name: Name,
    #[pin]
    state: Mutex<State>,
    /// A file that was being retrieved no longer is.
    #[pin]
    retrieved: CondVar,
    /// How many files were refused.
    refused: Atomic<u32>,
}

/// About how many refused files of a session the log tells.
const MOST_REFUSED: u32 = 16;

struct State {
    holder: Holder,
    files: Files,
    /// How many of them are being retrieved.
    retrieving: usize,
    /// How many wait until one is not any more.
    waiting: usize,
}

/// Who has the file of the session.
#[derive(PartialEq, Eq)]
enum Holder {
    /// The caller of `retrieve_session`, if the answer can be copied out.
    Offered,
    /// A user, who finishes the session by closing it.
    User,
}

impl Session {
    /// A session without files, until it is [taken](Session::take). `ENOMEM`.
    fn new(orchestrator: Arc<Orchestrator>, name: Name) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                orchestrator,
                name,
                state <- new_mutex!(State {
                    holder: Holder::Offered,
                    files: Files::none(),
                    retrieving: 0,
                    waiting: 0,
                }),
                retrieved <- new_condvar!(),
                refused: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes the files of the session from the registry, and reads the list of them if nobody did.
    ///
    /// `ENOENT` if there is no session of that name, `EINVAL` if somebody has it, `EIO` if its list
    /// of files is damaged, `ENOMEM`.
    fn take(&self) -> Result {
        let incoming = &self.orchestrator.incoming;
        let list = incoming.lock().take(&self.name)?;
        let files = match list {
            FileList::Read(files) => files,
            FileList::Unread(unread) => match unread.read(&self.orchestrator.handover) {
                Ok(files) => files,
                Err(NotRead::OutOfMemory) => {
                    incoming.lock().put_back(&self.name, list);
                    return Err(ENOMEM);
                }
                Err(NotRead::Damaged(why)) => {
                    pr_err!(
                        "session {} from the previous kernel is damaged: {why}\n",
                        self.name
                    );
                    incoming.lock().set_damaged(&self.name);
                    return Err(EIO);
                }
            },
        };
        self.state.lock().files = files;
        Ok(())
    }

    /// Gives the files back to the registry, for who retrieves the session next.
    fn put_back(&self) {
        let files = core::mem::replace(&mut self.state.lock().files, Files::none());
        let list = FileList::Read(files);
        self.orchestrator.incoming.lock().put_back(&self.name, list);
    }

    /// The file of `token`; the same one each time.
    fn retrieve_file(&self, token: u64) -> Result<ARef<File>> {
        let mut state = self.state.lock();
        let (index, retrieval) = loop {
            let index = state.files.find(token).ok_or(ENOENT)?;
            let file = state.files.at_mut(index).ok_or(ENOENT)?;
            match &file.state {
                FileState::Retrieved { file, .. } => return Ok(file.clone()),
                FileState::Failed(err) => return Err(*err),
                // What can fail for a reason that passes comes before what is tried only once.
                FileState::Pending => {
                    break (index, file.begin(self.orchestrator.identities.ticket()?));
                }
                FileState::Retrieving => {}
            }
            self.wait(&mut state);
        };
        state.retrieving += 1;
        drop(state);
        let result = retrieval
            .run(&self.orchestrator.handover)
            .map_err(|failure| {
                if let Failure::Damaged(why) = &failure {
                    self.refused_file(token, why);
                }
                failure.errno()
            });
        let mut state = self.state.lock();
        state.retrieving -= 1;
        // Nobody finishes the session while a file is being retrieved, so it is there.
        let answer = match state.files.at_mut(index) {
            Some(file) => file.end(result),
            None => Err(ENOENT),
        };
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.retrieved.notify_all();
        }
        answer
    }

    /// Waits until a file that was being retrieved is not any more.
    fn wait(&self, state: &mut MutexGuard<'_, State>) {
        state.waiting += 1;
        self.retrieved.wait(state);
        state.waiting -= 1;
    }

    /// Says why a file cannot be used; of many, only about the first.
    #[cold]
    fn refused_file(&self, token: u64, why: &Damage) {
        let before = self.refused.fetch_add(1, Relaxed);
        if before < MOST_REFUSED {
            pr_err!(
                "file {token:#x} of session {} from the previous kernel is refused: {why}\n",
                self.name
            );
        } else if before == MOST_REFUSED {
            pr_err!(
                "more files of session {} are refused, of which nothing is said\n",
                self.name
            );
        }
    }

    /// Gives everything that was not retrieved back to the kernel, and lets go of the rest. That
    /// happens only if all files are ready for it.
    fn finish(&self, mut state: MutexGuard<'_, State>) -> Result {
        while state.retrieving > 0 {
            self.wait(&mut state);
        }
        if !state.files.iter().all(IncomingFile::can_finish) {
            return Err(EBUSY);
        }
        let files = core::mem::replace(&mut state.files, Files::none());
        drop(state);
        for file in files.iter() {
            if let Err(why) = file.discard(&self.orchestrator.handover) {
                self.refused_file(file.token(), &why);
            }
        }
        Ok(())
    }

    fn retrieve_fd(&self, arg: &UserArg) -> Result {
        let mut args: liveupdate_session_retrieve_fd = arg.read()?;
        let fd = FileDescriptorReservation::get_unused_fd_flags(fd::O_CLOEXEC)?;
        // A caller that cannot be answered must not change anything.
        arg.write(&args)?;
        let running = self.orchestrator.freeze.read();
        let file = self.retrieve_file(args.token)?;
        drop(running);
        args.fd = fd.reserved_fd() as i32;
        arg.write(&args)?;
        fd.fd_install(file);
        Ok(())
    }
}

/// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
pub(super) fn retrieve(orchestrator: &Arc<Orchestrator>, arg: &UserArg) -> Result {
    let mut args: liveupdate_ioctl_retrieve_session = arg.read()?;
    let name = Name::new(&args.name).ok_or(EINVAL)?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(fd::O_CLOEXEC)?;
    let running = orchestrator.freeze.read();

    let session = Session::new(orchestrator.clone(), name)?;
    let mut buffer = [0; 96];
    let file_name = name.file_name(&mut buffer)?;
    session.take()?;
    let file = anon_file::open(file_name, session.clone()).inspect_err(|_| session.put_back())?;
    drop(running);
    args.fd = fd.reserved_fd() as i32;
    // If this fails the file is closed before the caller continues, and the session is free again.
    arg.write(&args)?;
    session.state.lock().holder = Holder::User;
    fd.fd_install(file);
    Ok(())
}

impl AnonFile for Session {
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        let command = SessionCommand::new(cmd, arg)?;
        match command.nr {
            SessionCommand::RETRIEVE_FD => self.retrieve_fd(&command.arg)?,
            SessionCommand::FINISH => {
                let args: liveupdate_session_finish = command.arg.read()?;
                if args.reserved != 0 {
                    return Err(EINVAL);
                }
                // As when a file is preserved, the answer comes first.
                command.arg.write(&args)?;
                let _running = self.orchestrator.freeze.read();
                self.finish(self.state.lock())?;
            }
            SessionCommand::GET_NAME => command.get_name(&self.name)?,
            _ => return Err(EINVAL),
        }
        Ok(0)
    }

    fn show_fdinfo(&self, to: &SeqFile) {
        seq_print!(to, "luo-name:\t{}\nluo-direction:\tincoming\n", self.name);
        for file in self.state.lock().files.iter() {
            let token = file.token();
            let (handler, state) = file.describe();
            seq_print!(
                to,
                "luo-file:\ttoken={token:#x} handler={handler} state={state}\n"
            );
        }
    }

    fn release(self: Arc<Self>) {
        let _running = self.orchestrator.freeze.read();
        let state = self.state.lock();
        if state.holder == Holder::Offered {
            drop(state);
            self.put_back();
            return;
        }
        match self.finish(state) {
            Ok(()) => self.orchestrator.incoming.lock().remove(&self.name),
            Err(err) => {
                pr_warn!(
                    "session {} was closed, but cannot be finished yet: {}\n",
                    self.name,
                    err.to_errno()
                );
                self.put_back();
            }
        }
    }
}
