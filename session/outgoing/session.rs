// SPDX-License-Identifier: GPL-2.0-only

//! The file of an outgoing session: its ioctls, and what closing it does.

use kernel::{
    fs::file::{
        flags,
        File,
        FileDescriptorReservation, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    super::{
        commands::{
            self,
            OutgoingCommand, //
        },
        fdinfo,
        freeze::{
            Running, //
            Stopped,
        },
        listing::{
            Direction,
            Owner,
            SessionRow, //
        },
        name::{
            Name,
            FILE_NAME_SIZE, //
        }, //
    },
    files::{
        FileSet,
        Location, //
    },
    registry::{
        self,
        Freeze, //
    }, //
};
use crate::{
    abi::pieces::Pieces,
    kapi::{
        anon_file::{
            self,
            AnonFile,
            FdInfo, //
        },
        ioctl::{
            liveupdate_ioctl_create_session,
            liveupdate_session_preserve_fd,
            Ioctl,
            UserArg, //
        },
        module::Entered, //
    }, //
};

/// All outgoing sessions.
pub(in crate::session) type Registry = registry::Registry<Session>;

/// An outgoing session. Its open file and the registry refer to it, and it to the registry, until
/// the file is closed.
#[pin_data]
pub(in crate::session) struct Session {
    registry: Arc<Registry>,
    name: Name,
    owner: Owner,
    #[pin]
    files: FileSet,
}

/// `LIVEUPDATE_IOCTL_CREATE_SESSION`.
///
/// `EMFILE`, `EINVAL` for a bad name, and the errors of [`Registry::insert`], in this order, as in
/// C.
///
/// # Context
///
/// Accesses user memory: no lock may be held.
pub(in crate::session) fn create(
    registry: &Arc<Registry>,
    call: &Ioctl<'_>,
    arg: &UserArg<liveupdate_ioctl_create_session>,
) -> Result {
    let mut args = arg.read()?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)?;
    let name = Name::new(&args.name).ok_or(EINVAL)?;
    let lock = &registry.shared.freeze;
    let file = lock.run(call.entered(), |running| {
        Session::open(running, registry, name)
    })?;
    args.fd = fd.reserved_fd() as i32;
    // If this fails, the file is closed before the ioctl returns to its user, and the session with
    // it.
    arg.write(&args)?;
    fd.fd_install(file);
    Ok(())
}

impl Session {
    /// Makes a session, adds it to the registry, and opens a file for it.
    fn open(running: &Running<'_>, registry: &Arc<Registry>, name: Name) -> Result<ARef<File>> {
        let kho = registry.shared.kho;
        let session = Arc::pin_init(
            pin_init!(Self {
                registry: registry.clone(),
                name,
                owner: Owner::current(),
                files <- FileSet::new(kho),
            }),
            GFP_KERNEL,
        )?;
        let mut buffer = [0; FILE_NAME_SIZE];
        let file_name = name.file_name(&mut buffer)?;
        registry.insert(running, name, session.clone())?;
        anon_file::open(file_name, session).inspect_err(|_| registry.remove(running, &name))
    }

    fn preserve_fd(
        &self,
        call: &Ioctl<'_>,
        arg: &UserArg<liveupdate_session_preserve_fd>,
    ) -> Result {
        let shared = &*self.registry.shared;
        let args = arg.read()?;
        // Write the argument back first: if that faults, nothing has happened yet. C writes it
        // last, and leaves the file preserved although the call has failed. So as in C, an error of
        // the arguments comes before EFAULT, but unlike in C, EFAULT comes before an error that
        // preserving the file would give.
        if let Err(fault) = arg.write(&args) {
            self.files.check(shared, call, args.token, args.fd)?;
            return Err(fault);
        }
        shared.freeze.run(call.entered(), |running| {
            self.files
                .preserve(running, shared, call, args.token, args.fd)
        })
    }
}

impl AnonFile for Session {
    fn ioctl(&self, call: &Ioctl<'_>) -> Result {
        match call.command()? {
            OutgoingCommand::PreserveFd(arg) => self.preserve_fd(call, &arg),
            OutgoingCommand::GetName(arg) => commands::get_name(&arg, &self.name),
        }
    }

    fn show_fdinfo(&self, to: &FdInfo<'_>) {
        fdinfo::session(to, &self.name, "outgoing");
        self.files.show(to);
    }

    fn release(self: Arc<Self>, entered: &Entered<'_>) {
        let registry = self.registry.clone();
        registry.shared.freeze.run(entered, |running| {
            registry.remove(running, &self.name);
            // Was the last reference: the files are unpreserved before a kexec can be entered.
            drop(self);
        });
    }
}

impl Freeze for Session {
    fn freeze(&self, stopped: &Stopped<'_>, pieces: &mut Pieces) -> Result<Location> {
        self.files.freeze(stopped, &self.name, pieces)
    }
    fn unfreeze(&self) {
        self.files.unfreeze();
    }

    fn is_slow(&self) -> bool {
        self.files.is_slow()
    }

    fn row(&self) -> SessionRow {
        let status = self.files.status();
        SessionRow {
            direction: Direction::Outgoing,
            name: self.name,
            state: status.state,
            files: Some(status.files),
            pages: Some(status.pages),
            pieces: Some(status.pieces),
            owner: Some(self.owner),
        }
    }
}
