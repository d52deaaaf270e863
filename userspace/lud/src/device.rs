// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The calls of the agent to the kernel, as a trait, so that a test can be the kernel.

use crate::point::point_in_child;
use crate::refusal::Failed;
use crate::store::{Adopted, Item, Store};
use anyhow::{Context, Result};
use liveupdate::agent::protocol::Direction;
use liveupdate::agent::server;
use liveupdate::{Device, IncomingSession, OutgoingSession, Reason, SessionName, Token};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The device and its sessions.
pub trait Orchestrator {
    /// Creates an outgoing session.
    fn create(&self, name: &SessionName) -> Result<OwnedFd, Failed>;

    /// Retrieves an incoming session.
    fn retrieve(&self, name: &SessionName) -> Result<OwnedFd, Failed>;

    /// Returns direction and name of a session; [`None`] if the file is no session.
    fn identify(&self, fd: &OwnedFd) -> Option<(Direction, SessionName)>;

    /// Preserves a file in an outgoing session.
    fn preserve(&self, session: &OwnedFd, token: Token, file: BorrowedFd<'_>)
        -> Result<(), Failed>;

    /// Retrieves a file of an incoming session.
    fn retrieve_file(&self, session: &OwnedFd, token: Token) -> Result<OwnedFd, Failed>;

    /// Finishes an incoming session.
    fn finish(&self, session: &OwnedFd) -> Result<(), Failed>;
}

/// The kernel's device.
struct Kernel(Device);

/// Makes a session of a duplicate, because the types of the crate own their file descriptor.
fn session<T>(fd: &OwnedFd) -> Result<T, Failed>
where
    T: TryFrom<OwnedFd, Error = liveupdate::Rejected<OwnedFd>>,
{
    let duplicate = duplicate(fd)?;
    Ok(T::try_from(duplicate)?)
}

/// Another file descriptor of the same file.
pub fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Failed> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
        .map_err(|errno| Failed::new(errno, "the agent has no more file descriptors"))
}

impl Orchestrator for Kernel {
    fn create(&self, name: &SessionName) -> Result<OwnedFd, Failed> {
        Ok(self.0.create_session(name)?.into())
    }

    fn retrieve(&self, name: &SessionName) -> Result<OwnedFd, Failed> {
        Ok(self.0.retrieve_session(name)?.into())
    }

    fn identify(&self, fd: &OwnedFd) -> Option<(Direction, SessionName)> {
        // The original stays open, so dropping these does not end the session.
        let outgoing = OutgoingSession::try_from(duplicate(fd).ok()?);
        match outgoing {
            Ok(session) => Some((Direction::Outgoing, *session.name())),
            Err(rejected) if rejected.error.reason() == Reason::WrongDirection => {
                let session = IncomingSession::try_from(rejected.object).ok()?;
                Some((Direction::Incoming, *session.name()))
            }
            Err(_) => None,
        }
    }

    fn preserve(
        &self,
        session: &OwnedFd,
        token: Token,
        file: BorrowedFd<'_>,
    ) -> Result<(), Failed> {
        Ok(self::session::<OutgoingSession>(session)?.preserve(token, file)?)
    }

    fn retrieve_file(&self, session: &OwnedFd, token: Token) -> Result<OwnedFd, Failed> {
        Ok(self::session::<IncomingSession>(session)?.retrieve(token)?)
    }

    fn finish(&self, session: &OwnedFd) -> Result<(), Failed> {
        Ok(self::session::<IncomingSession>(session)?.finish()?)
    }
}

/// Retrieves an incoming session, and stores it. Returns it, and whether it is stored.
///
/// Closing the session finishes it, so a kill must not come between the two: a child does both.
pub fn retrieve_and_store(
    orchestrator: &dyn Orchestrator,
    store: &Store,
    item: Item,
    name: &SessionName,
) -> Result<(OwnedFd, bool), Failed> {
    if !store.exists() {
        return Ok((orchestrator.retrieve(name)?, false));
    }
    let retrieved = server::fd_from_child(&|| {
        let fd = orchestrator
            .retrieve(name)
            .map_err(|failed| Errno::from_raw_os_error(failed.errno))?;
        point_in_child("retrieve-made");
        let stored = store.add(item, &fd).is_ok();
        point_in_child("retrieve-child-stored");
        Ok((fd, stored))
    });
    let (fd, stored) = retrieved.map_err(|errno| {
        let sentence = match errno {
            Errno::NOENT => "the previous kernel has handed over no such session",
            Errno::INVAL => "the session was retrieved before",
            _ => "the session cannot be retrieved",
        };
        Failed::new(errno, sentence)
    })?;
    if stored {
        store.adopt(1);
    }
    Ok((fd, stored))
}

/// Whether the file descriptor is of the device at that path.
fn is_device(fd: &OwnedFd, path: &Path) -> bool {
    match (rustix::fs::fstat(fd), rustix::fs::stat(path)) {
        (Ok(ours), Ok(theirs)) => ours.st_rdev == theirs.st_rdev && ours.st_rdev != 0,
        _ => false,
    }
}

/// Takes the device out of the store, or opens it and stores it.
pub fn open(path: &Path, adopted: &mut Adopted, store: &Store) -> Result<Box<dyn Orchestrator>> {
    store.adopt(adopted.len());
    #[cfg(feature = "test-points")]
    if let Some(path) = std::env::var_os("LUD_TEST_DEVICE") {
        return crate::fake::open(Path::new(&path), adopted, store);
    }
    if let Some(fd) = adopted.take(Item::Device) {
        if is_device(&fd, path) {
            tracing::info!("took over the device from the service manager");
            return Ok(Box::new(Kernel(Device::from(fd))));
        }
        tracing::error!("what the service manager stored as the device is another file");
        store.remove(Item::Device)?;
    }
    let device = Device::open_path(path).with_context(|| path.display().to_string())?;
    let copy = device
        .as_fd()
        .try_clone_to_owned()
        .context("cannot duplicate the device")?;
    store.add(Item::Device, &copy)?;
    Ok(Box::new(Kernel(device)))
}
