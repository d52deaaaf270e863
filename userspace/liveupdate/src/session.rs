// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The device, and the sessions of both directions.

use crate::{sys, Error, Operation, Rejected, SessionName, Token};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The open device, `/dev/liveupdate`.
///
/// It has one opener at a time, so a program closes it soon: sessions do not need it. On a
/// host with several users of live update, one agent opens it and hands sessions over.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

impl Device {
    /// Where the device is.
    pub const PATH: &'static str = "/dev/liveupdate";

    /// Opens the device.
    ///
    /// # Errors
    ///
    /// [`DeviceAbsent`] if this kernel has no live update, [`DeviceBusy`] if another process
    /// has the device open, [`Damaged`] if what the previous kernel handed over cannot be
    /// read.
    ///
    /// [`DeviceAbsent`]: crate::Reason::DeviceAbsent
    /// [`DeviceBusy`]: crate::Reason::DeviceBusy
    /// [`Damaged`]: crate::Reason::Damaged
    pub fn open() -> Result<Self, Error> {
        Self::open_path(Self::PATH)
    }

    /// Opens the device at another path, such as that of a container.
    ///
    /// # Errors
    ///
    /// As [`Device::open`].
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        rustix::fs::open(path.as_ref(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map(|fd| Self { fd })
            .map_err(|errno| Error::new(Operation::Open, errno))
    }

    /// Creates a session for the next kernel.
    ///
    /// # Errors
    ///
    /// [`NameTaken`](crate::Reason::NameTaken) if an outgoing session has that name,
    /// [`NoSpace`](crate::Reason::NoSpace) if there are too many.
    pub fn create_session(&self, name: &SessionName) -> Result<OutgoingSession, Error> {
        sys::create_session(self.fd.as_fd(), name.field())
            .map(|fd| OutgoingSession { fd, name: *name })
            .map_err(|errno| Error::new(Operation::CreateSession, errno).session(name))
    }

    /// Retrieves a session that the previous kernel handed over.
    ///
    /// # Errors
    ///
    /// [`SessionAbsent`](crate::Reason::SessionAbsent) if there is none of that name, which is
    /// the normal answer after a boot without live update;
    /// [`SessionTaken`](crate::Reason::SessionTaken) if it was retrieved before.
    pub fn retrieve_session(&self, name: &SessionName) -> Result<IncomingSession, Error> {
        sys::retrieve_session(self.fd.as_fd(), name.field())
            .map(|fd| IncomingSession { fd, name: *name })
            .map_err(|errno| Error::new(Operation::RetrieveSession, errno).session(name))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// For handing the open device to another process.
impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.fd
    }
}

/// For a process that was handed the open device. Nothing is checked: calls on another file
/// fail.
impl From<OwnedFd> for Device {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

/// A session for the next kernel.
///
/// Its files stay preserved as long as a file descriptor of the session is open. **Dropping the
/// last one gives everything back**: the files are unpreserved, and the next kernel never sees
/// the session. So a process must hold it until `reboot(2)`. That can be another process than
/// the one that made it: turn the session into an [`OwnedFd`], send it, and make a session of
/// it again with `try_from()`.
///
/// While a file is preserved its size is fixed. It can still be read, written and mapped.
///
/// A file of an outgoing session cannot be retrieved, so this does not compile:
///
/// ```compile_fail,E0599
/// # fn f(session: liveupdate::OutgoingSession) {
/// let file = session.retrieve(liveupdate::Token::new(1));
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping an outgoing session unpreserves its files"]
pub struct OutgoingSession {
    fd: OwnedFd,
    name: SessionName,
}

/// A session of the previous kernel.
///
/// Each file is retrieved by its token. A retrieved file belongs to the caller, and stays after
/// the session is finished. **Dropping the last file descriptor of the session finishes it**:
/// files that nobody has retrieved are freed. The explicit [`finish`](Self::finish) says whether
/// that worked.
#[derive(Debug)]
#[must_use = "dropping an incoming session frees the files that were not retrieved"]
pub struct IncomingSession {
    fd: OwnedFd,
    name: SessionName,
}

impl OutgoingSession {
    /// Preserves a file for the next kernel, under a token.
    ///
    /// The session keeps the file: the caller may close its file descriptor. What is written to
    /// a memfd after this call crosses too, until the kexec.
    ///
    /// # Errors
    ///
    /// [`TokenTaken`](crate::Reason::TokenTaken),
    /// [`AlreadyPreserved`](crate::Reason::AlreadyPreserved),
    /// [`NoHandler`](crate::Reason::NoHandler), [`NoSpace`](crate::Reason::NoSpace),
    /// [`TooLarge`](crate::Reason::TooLarge), and errors of the file's handler. The file is then
    /// not preserved.
    pub fn preserve(&self, token: Token, file: impl AsFd) -> Result<(), Error> {
        sys::preserve_fd(self.fd.as_fd(), Some(file.as_fd()), token.get()).map_err(|errno| {
            Error::new(Operation::Preserve, errno)
                .session(&self.name)
                .token(token)
        })
    }
}

impl IncomingSession {
    /// Retrieves a file.
    ///
    /// A second call for the same token returns another file descriptor of the same open file:
    /// both share a position.
    ///
    /// # Errors
    ///
    /// [`TokenAbsent`](crate::Reason::TokenAbsent) if the session has no such file, and
    /// [`Damaged`](crate::Reason::Damaged) if its data cannot be trusted. A failed retrieve of a
    /// file is final: later calls return the same error.
    pub fn retrieve(&self, token: Token) -> Result<OwnedFd, Error> {
        sys::retrieve_fd(self.fd.as_fd(), token.get()).map_err(|errno| {
            Error::new(Operation::Retrieve, errno)
                .session(&self.name)
                .token(token)
        })
    }

    /// Finishes the session, and frees the files that were not retrieved.
    ///
    /// # Errors
    ///
    /// If a file is not ready, nothing is finished: the session comes back in
    /// [`Rejected::object`], and the call can be repeated.
    pub fn finish(self) -> Result<(), Rejected<Self>> {
        match sys::finish(self.fd.as_fd()) {
            Ok(()) => Ok(()),
            Err(errno) => Err(Rejected {
                error: Error::new(Operation::Finish, errno).session(&self.name),
                object: self,
            }),
        }
    }
}

/// Asks the kernel for the name of a session.
fn get_name(fd: BorrowedFd<'_>) -> Result<SessionName, Errno> {
    let field = match sys::get_name(fd) {
        Ok(field) => field,
        // What kinds of files answer to a command that they do not know.
        Err(Errno::INVAL | Errno::NOTTY | Errno::BADF | Errno::ACCESS | Errno::OPNOTSUPP) => {
            return Err(Errno::NOTTY)
        }
        Err(errno) => return Err(errno),
    };
    SessionName::from_field(&field).map_err(|_| Errno::NOTTY)
}

/// Whether a session is an incoming one.
///
/// No call asks for that. But the kernel checks the direction of a call before its arguments:
/// preserving the file descriptor -1 fails with `EINVAL` on an incoming session, and with
/// another error on an outgoing one, which it does not change.
fn is_incoming(session: BorrowedFd<'_>) -> bool {
    sys::preserve_fd(session, None, u64::MAX) == Err(Errno::INVAL)
}

/// What both directions have, written once.
macro_rules! session {
    ($session:ident, $incoming:literal) => {
        impl $session {
            /// Returns the name that the session was created with.
            #[must_use]
            pub fn name(&self) -> &SessionName {
                &self.name
            }

            /// Asks the kernel for the name of the session.
            ///
            /// # Errors
            ///
            /// None is expected: the file descriptor was checked to be one of a session.
            pub fn get_name(&self) -> Result<SessionName, Error> {
                get_name(self.fd.as_fd())
                    .map_err(|errno| Error::new(Operation::GetName, errno).session(&self.name))
            }

            /// Duplicates the file descriptor: another holder of the same session.
            ///
            /// # Errors
            ///
            /// Those of `dup(2)`, such as too many open files.
            pub fn try_clone(&self) -> Result<Self, Error> {
                match rustix::io::fcntl_dupfd_cloexec(&self.fd, 3) {
                    Ok(fd) => Ok(Self {
                        fd,
                        name: self.name,
                    }),
                    Err(errno) => Err(Error::new(Operation::Duplicate, errno).session(&self.name)),
                }
            }
        }

        impl AsFd for $session {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        /// For handing the session to another process. It stays as it is while the file
        /// descriptor is open.
        impl From<$session> for OwnedFd {
            fn from(session: $session) -> Self {
                session.fd
            }
        }

        /// For a process that was handed a session.
        ///
        /// Fails if the file is not a session of this direction, and gives the file descriptor
        /// back. See [`Reason::NotASession`](crate::Reason::NotASession) and
        /// [`Reason::WrongDirection`](crate::Reason::WrongDirection).
        impl TryFrom<OwnedFd> for $session {
            type Error = Rejected<OwnedFd>;

            fn try_from(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
                match get_name(fd.as_fd()) {
                    Err(errno) => Err(Rejected {
                        object: fd,
                        error: Error::new(Operation::FromFd, errno),
                    }),
                    Ok(name) if is_incoming(fd.as_fd()) != $incoming => Err(Rejected {
                        object: fd,
                        error: Error::new(Operation::FromFd, Errno::INVAL).session(&name),
                    }),
                    Ok(name) => Ok(Self { fd, name }),
                }
            }
        }
    };
}

session!(OutgoingSession, false);
session!(IncomingSession, true);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;
    use std::fs::File;

    fn not_a_session() -> OwnedFd {
        File::open("/dev/null").expect("/dev/null opens").into()
    }

    #[test]
    fn an_absent_device_is_told_from_other_errors() {
        let error = Device::open_path("/dev/no-such-device").expect_err("absent");
        assert_eq!(error.reason(), Reason::DeviceAbsent);
        assert_eq!(error.operation(), Operation::Open);
    }

    #[test]
    fn another_file_is_not_taken_for_a_session() {
        let rejected = OutgoingSession::try_from(not_a_session()).expect_err("no session");
        assert_eq!(rejected.error.reason(), Reason::NotASession);
        // The file descriptor came back, and is open.
        assert!(rejected.object.try_clone().is_ok());
        assert!(IncomingSession::try_from(rejected.object).is_err());
    }

    #[test]
    fn a_failed_finish_gives_the_session_back() {
        let session = IncomingSession {
            fd: not_a_session(),
            name: SessionName::new("vm-1").expect("a good name"),
        };
        let rejected = session.finish().expect_err("no session");
        assert_eq!(rejected.error.operation(), Operation::Finish);
        assert_eq!(rejected.object.name().as_bytes(), b"vm-1");
        assert!(rejected.object.try_clone().is_ok());
    }

    #[test]
    fn errors_name_session_and_token() {
        let session = OutgoingSession {
            fd: not_a_session(),
            name: SessionName::new("vm-1").expect("a good name"),
        };
        let error = session
            .preserve(Token::new(7), not_a_session())
            .expect_err("no session");
        assert_eq!(error.file_token(), Some(Token::new(7)));
        assert_eq!(error.session_name(), Some(session.name()));
    }
}
