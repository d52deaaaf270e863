// SPDX-License-Identifier: GPL-2.0-only

//! The file of an incoming session: its ioctls, and what closing it does.

use kernel::{
    fs::file::{
        flags,
        File,
        FileDescriptorReservation, //
    },
    new_condvar,
    new_mutex,
    prelude::*,
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
    super::{
        commands::{
            self,
            IncomingCommand, //
        },
        fdinfo,
        freeze::Running,
        name::{
            Name,
            FILE_NAME_SIZE, //
        }, //
    },
    files::{
        FileList,
        FileSet,
        FileState,
        NotRead, //
    },
    registry::{
        Place,
        Registry, //
    },
    status::Status, //
};
use crate::{
    abi::Damage,
    file_handlers::Failure,
    kapi::{
        anon_file::{
            self,
            AnonFile,
            FdInfo, //
        },
        error::eloop,
        ioctl::{
            liveupdate_ioctl_retrieve_session,
            liveupdate_session_finish,
            liveupdate_session_retrieve_fd,
            Ioctl,
            UserArg, //
        },
        module::Entered,
        session_files::IncomingFiles, //
    }, //
};

/// An open file of an incoming session. There is one for each time that the session is retrieved.
#[pin_data]
struct Session {
    registry: Arc<Registry>,
    name: Name,
    status: Arc<Status>,
    #[pin]
    state: Mutex<State>,
    /// Notified when a task has retrieved a file, or failed to, and when one has asked whether the
    /// session can be finished.
    #[pin]
    retrieved: CondVar,
    /// The number of damaged files that were found.
    damaged: Atomic<u32>,
}

/// How many damaged files of a session are logged one by one.
const MAX_LOGGED: u32 = 16;

struct State {
    holder: Holder,
    /// Where the files belong, from when they were taken.
    place: Option<Place>,
    files: FileSet,
    /// The number of files that tasks are retrieving.
    retrieving: usize,
    /// Whether a task asks handlers if the session can be finished, without the lock. It has taken the
    /// files out meanwhile.
    asking: bool,
}

/// Who closes the file of the session.
#[derive(PartialEq, Eq)]
enum Holder {
    /// `retrieve_session`, whose answer has not been copied out: closing puts the files back.
    Ioctl,
    /// A user: closing finishes the session.
    User,
}

/// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
///
/// `EMFILE`, `ENOENT` for a name that no session has or can have, and the errors of
/// [`Registry::take`], in this order, as in C. `EIO` if the list of files is damaged.
///
/// # Context
///
/// Accesses user memory: no lock may be held.
pub(in crate::session) fn retrieve(
    registry: &Arc<Registry>,
    call: &Ioctl<'_>,
    arg: &UserArg<liveupdate_ioctl_retrieve_session>,
) -> Result {
    let mut args = arg.read()?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let name = Name::new(&args.name).ok_or(ENOENT)?;
    let lock = &registry.shared.freeze;
    let (session, file) = lock.run(call.entered(), |running| {
        Session::open(running, registry, name)
    })?;
    args.fd = fd.reserved_fd() as i32;
    // If this fails, the file is closed before the ioctl returns to its user, and the session can
    // be retrieved again.
    arg.write(&args)?;
    session.state.lock().holder = Holder::User;
    fd.fd_install(file);
    Ok(())
}

impl Session {
    /// Takes the files from the registry, and opens a file for the session.
    fn open(
        running: &Running<'_>,
        registry: &Arc<Registry>,
        name: Name,
    ) -> Result<(Arc<Self>, ARef<File>)> {
        let registry = registry.clone();
        let status = Status::new()?;
        let session = Arc::pin_init(
            pin_init!(Self {
                registry,
                name,
                status,
                state <- new_mutex!(State {
                    holder: Holder::Ioctl,
                    place: None,
                    files: FileSet::empty(),
                    retrieving: 0,
                    asking: false,
                }),
                retrieved <- new_condvar!(),
                damaged: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        let mut buffer = [0; FILE_NAME_SIZE];
        let file_name = name.file_name(&mut buffer)?;
        session.take(running)?;
        let file = anon_file::open(file_name, session.clone())
            .inspect_err(|_| session.put_back(running))?;
        Ok((session, file))
    }

    /// Takes the files of the session from the registry, and reads the list of them unless it has
    /// been read.
    ///
    /// The errors of [`Registry::take`], `EIO` if the list is damaged, `ENOMEM`.
    fn take(&self, running: &Running<'_>) -> Result {
        let registry = &*self.registry;
        let (place, list) = registry.take(running, &self.name, &self.status)?;
        let files = match list {
            FileList::Read(files) => files,
            FileList::Unread(unread) => match unread.read(&registry.handover) {
                Ok(files) => files,
                Err(NotRead::OutOfMemory) => {
                    registry.put_back(running, place, list);
                    return Err(ENOMEM);
                }
                Err(NotRead::Damaged(why)) => {
                    pr_err!(
                        "session {} from the previous kernel is damaged: {why}\n",
                        self.name
                    );
                    registry.set_damaged(running, place);
                    return Err(EIO);
                }
            },
        };
        let mut state = self.state.lock();
        state.place = Some(place);
        self.status.set_files(files.len());
        state.files = files;
        Ok(())
    }

    /// Puts the files back into the registry, where the session can be retrieved again.
    fn put_back(&self, running: &Running<'_>) {
        let mut state = self.state.lock();
        let files = core::mem::replace(&mut state.files, FileSet::empty());
        let place = state.place.take();
        drop(state);
        if let Some(place) = place {
            self.registry
                .put_back(running, place, FileList::Read(files));
        }
    }

    /// The file of `token`; the same one each time.
    ///
    /// `ENOENT` if there is no such file, `ENOMEM`, or the error of the only attempt to retrieve
    /// the file: see [`Failure::errno`].
    ///
    /// # Context
    ///
    /// Process context; sleeps, for a time that grows with the file. Waits while another task is
    /// retrieving the file.
    fn retrieve_file(&self, running: &Running<'_>, token: u64) -> Result<ARef<File>> {
        self.retrieve_at_depth(running, token, 0)
    }

    /// As [`Session::retrieve_file`]. `depth` is the number of files whose callbacks wait for this one
    /// in the current task.
    fn retrieve_at_depth(
        &self,
        running: &Running<'_>,
        token: u64,
        depth: usize,
    ) -> Result<ARef<File>> {
        let shared = &*self.registry.shared;
        let mut state = self.lock();
        let (index, retrieval) = loop {
            let index = state.files.find(token).ok_or(ENOENT)?;
            let file = state.files.at_mut(index).ok_or(ENOENT)?;
            match file.state() {
                FileState::Retrieved { file, .. } => return Ok(file.clone()),
                FileState::Failed(err) => return Err(*err),
                // The ticket comes first: if there is no memory for it, the attempt is not spent.
                FileState::Pending => {
                    let ticket = shared.identities.ticket()?;
                    match file.begin(&shared.handlers, ticket) {
                        Ok(retrieval) => break (index, retrieval),
                        Err(why) => {
                            if file.tell_missing() {
                                self.report(token, &why);
                            }
                            return Err(Failure::from(why).errno());
                        }
                    }
                }
                FileState::Retrieving { .. } => self.retrieved.wait(&mut state),
            }
        };
        state.retrieving += 1;
        drop(state);
        let busy = self.status.busy();
        let needs = Needs {
            session: self,
            running,
            token,
            depth,
        };
        let result = retrieval
            .run(&self.registry.handover, &needs)
            .map_err(|failure| self.refuse(token, failure));
        drop(busy);
        let mut state = self.state.lock();
        state.retrieving -= 1;
        // The session is not finished while a task is retrieving a file, so that the index is
        // valid.
        let answer = match state.files.at_mut(index) {
            Some(file) => file.end(result),
            None => Err(ENOENT),
        };
        drop(state);
        self.retrieved.notify_all();
        answer
    }

    /// Locks the state when the files are there.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while state.asking {
            self.retrieved.wait(&mut state);
        }
        state
    }

    /// Finds the errors of [`Session::retrieve_file`] that are known without an attempt to retrieve
    /// the file.
    fn check(&self, token: u64) -> Result {
        let mut state = self.lock();
        let index = state.files.find(token).ok_or(ENOENT)?;
        match state.files.at_mut(index).map(|file| file.state()) {
            Some(FileState::Failed(err)) => Err(*err),
            _ => Ok(()),
        }
    }

    /// Logs why a file cannot be retrieved. The error for that.
    fn refuse(&self, token: u64, failure: Failure) -> Error {
        if let Failure::Damaged(why) = &failure {
            self.report(token, why);
        }
        failure.errno()
    }

    /// Logs why a file cannot be retrieved, or not be freed.
    #[cold]
    fn report(&self, token: u64, why: &Damage) {
        let before = self.damaged.fetch_add(1, Relaxed);
        if before < MAX_LOGGED {
            pr_err!(
                "file {token:#x} of session {} from the previous kernel cannot be used: {why}\n",
                self.name
            );
        } else if before == MAX_LOGGED {
            pr_err!(
                "session {}: further damaged files are not logged\n",
                self.name
            );
        }
    }

    /// Frees the files that nobody has asked for, and drops the session's references to the others.
    /// Either all files are finished, or none: `EBUSY` if one cannot be finished yet.
    ///
    /// # Context
    ///
    /// Process context; sleeps, for a time that grows with the files. Waits while tasks are
    /// retrieving files.
    fn finish(&self, _running: &Running<'_>) -> Result {
        let _busy = self.status.busy();
        let mut state = self.state.lock();
        while state.retrieving > 0 || state.asking {
            self.retrieved.wait(&mut state);
        }
        if state.files.len() == 0 {
            self.status.set_finished();
            return Ok(());
        }
        let handlers = &*self.registry.shared.handlers;
        let mut files = core::mem::replace(&mut state.files, FileSet::empty());
        state.asking = true;
        drop(state);
        // Without the lock: a handler may hold one of its own meanwhile, and in other callbacks while
        // it waits for this one.
        let agreed = files.iter_mut().all(|file| file.can_finish(handlers));
        let mut state = self.state.lock();
        state.asking = false;
        if !agreed {
            files.iter_mut().for_each(|file| file.cannot_finish());
            core::mem::swap(&mut state.files, &mut files);
        }
        drop(state);
        self.retrieved.notify_all();
        if !agreed {
            return Err(EBUSY);
        }
        files.sort_by_place();
        while let Some(file) = files.pop() {
            let token = file.token();
            if let Err(why) = file.finish(handlers, &self.registry.handover) {
                self.report(token, &why);
            }
        }
        self.status.set_finished();
        Ok(())
    }

    fn retrieve_fd(
        &self,
        call: &Ioctl<'_>,
        arg: &UserArg<liveupdate_session_retrieve_fd>,
    ) -> Result {
        let mut args = arg.read()?;
        let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
        // Write the argument back first: if that faults, nothing has happened yet. C writes it
        // last, when the only attempt to retrieve the file is spent. So as in C, an unknown token
        // comes before EFAULT, but unlike in C, EFAULT comes before an error that retrieving the
        // file would give.
        if let Err(fault) = arg.write(&args) {
            self.check(args.token)?;
            return Err(fault);
        }
        let lock = &self.registry.shared.freeze;
        let file = lock.run(call.entered(), |running| {
            self.retrieve_file(running, args.token)
        })?;
        args.fd = fd.reserved_fd() as i32;
        arg.write(&args)?;
        fd.fd_install(file);
        Ok(())
    }

    fn finish_ioctl(&self, call: &Ioctl<'_>, arg: &UserArg<liveupdate_session_finish>) -> Result {
        let args = arg.read()?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        // Write the argument back first: if that faults, nothing has happened yet. C writes it
        // last, and answers EFAULT although the session is finished. So unlike in C, EFAULT comes
        // before EBUSY.
        arg.write(&args)?;
        let lock = &self.registry.shared.freeze;
        lock.run(call.entered(), |running| self.finish(running))
    }

    fn set_finished(&self, running: &Running<'_>) {
        let place = self.state.lock().place.take();
        if let Some(place) = place {
            self.registry.set_finished(running, place);
        }
    }

    /// Finishes the session because its user has closed it.
    fn close(&self, running: &Running<'_>) {
        match self.finish(running) {
            Ok(()) => self.set_finished(running),
            Err(err) => {
                pr_warn!(
                    "session {} was closed, but cannot be finished yet: {}\n",
                    self.name,
                    err.to_errno()
                );
                self.put_back(running);
            }
        }
    }
}

/// What a file needs of the session while it is being retrieved.
struct Needs<'a> {
    session: &'a Session,
    running: &'a Running<'a>,
    token: u64,
    /// How many files are waiting for this one, each for the next, in callbacks of this task.
    depth: usize,
}

/// Each file that waits for another one takes its part of the stack of the task.
const MAX_DEPTH: usize = 4;

impl IncomingFiles for Needs<'_> {
    fn retrieve(&self, token: u64) -> Result<ARef<File>> {
        if self.depth >= MAX_DEPTH {
            return Err(eloop());
        }
        let state = &self.session.state;
        state.lock().files.set_needs(self.token, token)?;
        let answer = self
            .session
            .retrieve_at_depth(self.running, token, self.depth + 1);
        state.lock().files.clear_needs(self.token);
        answer
    }
}

impl AnonFile for Session {
    fn ioctl(&self, call: &Ioctl<'_>) -> Result {
        match call.command()? {
            IncomingCommand::RetrieveFd(arg) => self.retrieve_fd(call, &arg),
            IncomingCommand::Finish(arg) => self.finish_ioctl(call, &arg),
            IncomingCommand::GetName(arg) => commands::get_name(&arg, &self.name),
        }
    }

    fn show_fdinfo(&self, to: &FdInfo<'_>) {
        fdinfo::session(to, &self.name, "incoming");
        let handlers = &*self.registry.shared.handlers;
        self.lock().files.show(handlers, to);
    }

    fn release(self: Arc<Self>, entered: &Entered<'_>) {
        let lock = &self.registry.shared.freeze;
        lock.run(entered, |running| {
            let taken_back = self.state.lock().holder == Holder::Ioctl;
            match taken_back {
                true => self.put_back(running),
                false => self.close(running),
            }
        });
    }
}
