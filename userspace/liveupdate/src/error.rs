// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What failed, and why.

use crate::{SessionName, Token};
use rustix::io::Errno;
use std::fmt;
use std::io;

/// The call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening the device.
    Open,
    /// Creating an outgoing session.
    CreateSession,
    /// Retrieving an incoming session.
    RetrieveSession,
    /// Preserving a file.
    Preserve,
    /// Retrieving a file.
    Retrieve,
    /// Finishing an incoming session.
    Finish,
    /// Asking for the name of a session.
    GetName,
    /// Making a session type of a file descriptor.
    FromFd,
    /// Duplicating a file descriptor.
    Duplicate,
    /// Making a memfd.
    CreateMemory,
    /// Looking for the data of a file.
    FindData,
    /// Collapsing the memory of a file.
    Collapse,
    /// Connecting to the agent.
    Connect,
    /// Opening an outgoing session again that the agent keeps.
    OpenSession,
    /// Telling the agent to drop an outgoing session.
    DiscardSession,
    /// Telling the agent that an incoming session is finished.
    ReleaseSession,
    /// Asking the agent for its sessions.
    ListSessions,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open the device",
            Self::CreateSession => "create a session",
            Self::RetrieveSession => "retrieve a session",
            Self::Preserve => "preserve a file",
            Self::Retrieve => "retrieve a file",
            Self::Finish => "finish a session",
            Self::GetName => "get the name of a session",
            Self::FromFd => "take a file descriptor for a session",
            Self::Duplicate => "duplicate a file descriptor",
            Self::CreateMemory => "create a memfd",
            Self::FindData => "find the data of a file",
            Self::Collapse => "collapse memory",
            Self::Connect => "connect to the agent",
            Self::OpenSession => "open a session again",
            Self::DiscardSession => "discard a session",
            Self::ReleaseSession => "release a session",
            Self::ListSessions => "list the sessions of the agent",
        })
    }
}

/// What an errno means for the call that returned it.
///
/// The same errno has different meanings: `EBUSY` from opening the device means that another
/// process has it open, and from preserving a file that it is preserved already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There is no device: the kernel has no orchestrator, or its module is not loaded.
    DeviceAbsent,
    /// Another process has the device open. It has one opener at a time.
    DeviceBusy,
    /// What the previous kernel handed over is damaged; the kernel log names the damage.
    Damaged,
    /// The program lacks a permission.
    Permission,
    /// An outgoing session has that name.
    NameTaken,
    /// The previous kernel handed over no session of that name. After a normal boot, this is
    /// the answer for every name. From an agent: it has no session of that name that it could
    /// open, discard or release.
    SessionAbsent,
    /// The session was retrieved before.
    SessionTaken,
    /// The session has a file with that token.
    TokenTaken,
    /// The session has no file with that token.
    TokenAbsent,
    /// The file is already preserved, by this session or another one.
    AlreadyPreserved,
    /// No handler preserves files of this kind.
    NoHandler,
    /// The limit for sessions, or for files of a session, is reached.
    NoSpace,
    /// The file is too large to be preserved.
    TooLarge,
    /// The kernel knows no way to do this with this file.
    Unsupported,
    /// There is not enough memory.
    NoMemory,
    /// The file descriptor is not one of a session.
    NotASession,
    /// The session has the other direction: it is incoming and not outgoing, or the
    /// reverse.
    WrongDirection,
    /// No agent is listening.
    AgentAbsent,
    /// The agent ended before it answered, or did not answer in time. The call may have been
    /// carried out.
    AgentGone,
    /// The agent answered something that this crate does not understand.
    AgentProtocol,
    /// None of these; see the errno.
    Other,
}

impl Reason {
    fn of(operation: Operation, errno: Errno) -> Self {
        use Operation as Op;
        match (operation, errno) {
            (Op::Open, Errno::NOENT | Errno::NODEV | Errno::NXIO) => Self::DeviceAbsent,
            (Op::Open, Errno::BUSY) => Self::DeviceBusy,
            (Op::CreateSession, Errno::EXIST) => Self::NameTaken,
            (Op::RetrieveSession, Errno::NOENT) => Self::SessionAbsent,
            (Op::RetrieveSession, Errno::INVAL) => Self::SessionTaken,
            (Op::Preserve, Errno::EXIST) => Self::TokenTaken,
            (Op::Preserve, Errno::BUSY) => Self::AlreadyPreserved,
            (Op::Preserve, Errno::NOENT) => Self::NoHandler,
            (Op::Preserve, Errno::FBIG) => Self::TooLarge,
            (Op::Preserve | Op::CreateSession, Errno::NOSPC) => Self::NoSpace,
            (Op::Retrieve, Errno::NOENT) => Self::TokenAbsent,
            (Op::OpenSession | Op::DiscardSession | Op::ReleaseSession, Errno::NOENT) => {
                Self::SessionAbsent
            }
            (Op::Connect, Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => Self::AgentAbsent,
            (
                Op::Connect
                | Op::CreateSession
                | Op::RetrieveSession
                | Op::OpenSession
                | Op::DiscardSession
                | Op::ReleaseSession
                | Op::ListSessions,
                Errno::CONNRESET | Errno::PIPE | Errno::TIMEDOUT,
            ) => Self::AgentGone,
            (_, Errno::PROTO) => Self::AgentProtocol,
            (Op::Open | Op::RetrieveSession | Op::Retrieve, Errno::IO) => Self::Damaged,
            (Op::FromFd | Op::GetName | Op::Finish, Errno::NOTTY) => Self::NotASession,
            (Op::FromFd, Errno::INVAL) => Self::WrongDirection,
            (_, Errno::PERM | Errno::ACCESS) => Self::Permission,
            (_, Errno::OPNOTSUPP) => Self::Unsupported,
            (_, Errno::NOMEM) => Self::NoMemory,
            _ => Self::Other,
        }
    }

    fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::DeviceAbsent => "there is no such device",
            Self::DeviceBusy => "another process has it open",
            Self::Damaged => "what the previous kernel handed over is damaged",
            Self::Permission => "the program lacks a permission",
            Self::NameTaken => "an outgoing session has that name",
            Self::SessionAbsent => "the previous kernel handed over no such session",
            Self::SessionTaken => "it was retrieved before",
            Self::TokenTaken => "the session has a file with that token",
            Self::TokenAbsent => "the session has no file with that token",
            Self::AlreadyPreserved => "the file is already preserved",
            Self::NoHandler => "no handler preserves files of this kind",
            Self::NoSpace => "the limit for sessions or files is reached",
            Self::TooLarge => "the file is too large",
            Self::Unsupported => "the kernel does not support this for this file",
            Self::NoMemory => "there is not enough memory",
            Self::NotASession => "the file is not a session",
            Self::WrongDirection => "the session has the other direction",
            Self::AgentAbsent => "no agent is listening",
            Self::AgentGone => "the agent ended before it answered, or was too slow",
            Self::AgentProtocol => "the answer of the agent is not understood",
            Self::Other => return None,
        })
    }
}

/// A call that failed: which one, for which session and token, and the errno.
///
/// A call that fails has changed nothing, with two exceptions: a failed retrieve of a file is
/// final, and an agent that is [gone](Reason::AgentGone) may have carried out the request.
///
/// ```
/// use liveupdate::{Device, Reason};
///
/// # fn agent() -> Result<(), liveupdate::Error> {
/// let device = match Device::open() {
///     Ok(device) => device,
///     // A kernel without live update is no failure of this program.
///     Err(error) if error.reason() == Reason::DeviceAbsent => return Ok(()),
///     Err(error) => return Err(error),
/// };
/// # drop(device);
/// # Ok(())
/// # }
/// # let _ = agent();
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    operation: Operation,
    session: Option<SessionName>,
    token: Option<Token>,
    errno: Errno,
    /// The sentence of an agent, bounded and without control characters.
    explanation: Option<String>,
}

impl Error {
    pub(crate) fn new(operation: Operation, errno: Errno) -> Self {
        Self(Box::new(Inner {
            operation,
            session: None,
            token: None,
            errno,
            explanation: None,
        }))
    }

    pub(crate) fn session(mut self, name: &SessionName) -> Self {
        self.0.session = Some(*name);
        self
    }

    pub(crate) fn token(mut self, token: Token) -> Self {
        self.0.token = Some(token);
        self
    }

    #[cfg(feature = "agent")]
    pub(crate) fn explained(mut self, sentence: String) -> Self {
        self.0.explanation = Some(sentence);
        self
    }

    /// Returns which call failed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// Returns what the errno means for this call.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::of(self.0.operation, self.0.errno)
    }

    /// Returns the name of the session, if the call was about one.
    #[must_use]
    pub fn session_name(&self) -> Option<&SessionName> {
        self.0.session.as_ref()
    }

    /// Returns the token of the file, if the call was about one.
    #[must_use]
    pub fn file_token(&self) -> Option<Token> {
        self.0.token
    }

    /// Returns the errno, as a positive number.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.0.errno.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.0.operation)?;
        if let Some(name) = &self.0.session {
            write!(f, ", session \"{name}\"")?;
        }
        if let Some(token) = self.0.token {
            write!(f, ", token {token}")?;
        }
        if let Some(explanation) = &self.0.explanation {
            return write!(f, ": {explanation} (errno {})", self.errno());
        }
        match self.reason().sentence() {
            Some(why) => write!(f, ": {why} (errno {})", self.errno()),
            None => write!(f, ": {}", io::Error::from(self.0.errno)),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.0.operation)
            .field("reason", &self.reason())
            .field("session", &self.0.session)
            .field("token", &self.0.token)
            .field("errno", &self.0.errno)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.errno)
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind of the errno, and the whole sentence.
    fn from(error: Error) -> Self {
        Self::new(io::Error::from(error.0.errno).kind(), error)
    }
}

/// A call that takes an object and failed: the error, and the object.
///
/// [`IncomingSession::finish`] and the conversions from [`OwnedFd`] return it. Dropping a
/// session gives up its files, so the caller decides what becomes of the object. An
/// [`Error`] can be made of it; that drops the object.
///
/// [`IncomingSession::finish`]: crate::IncomingSession::finish
/// [`OwnedFd`]: std::os::fd::OwnedFd
#[derive(Debug)]
pub struct Rejected<T> {
    /// The object, unchanged.
    pub object: T,
    /// Why the call failed.
    pub error: Error,
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for Rejected<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_failed() {
        let name = SessionName::new("vm-1").expect("a good name");
        let error = Error::new(Operation::Preserve, Errno::BUSY)
            .session(&name)
            .token(Token::new(16));
        assert_eq!(
            error.to_string(),
            "cannot preserve a file, session \"vm-1\", token 0x10: \
             the file is already preserved (errno 16)"
        );
        assert_eq!(error.reason(), Reason::AlreadyPreserved);
        assert_eq!(error.session_name(), Some(&name));
        assert_eq!(error.file_token(), Some(Token::new(16)));
    }

    #[test]
    fn one_errno_has_the_meaning_of_its_call() {
        let reason = |operation| Error::new(operation, Errno::NOENT).reason();
        assert_eq!(reason(Operation::Open), Reason::DeviceAbsent);
        assert_eq!(reason(Operation::RetrieveSession), Reason::SessionAbsent);
        assert_eq!(reason(Operation::Preserve), Reason::NoHandler);
        assert_eq!(reason(Operation::Retrieve), Reason::TokenAbsent);
        assert_eq!(reason(Operation::Finish), Reason::Other);
    }

    #[test]
    fn an_unknown_errno_has_the_words_of_the_system() {
        let error = Error::new(Operation::Finish, Errno::INTR);
        assert_eq!(
            error.to_string(),
            "cannot finish a session: Interrupted system call (os error 4)"
        );
    }

    #[test]
    fn only_calls_that_an_agent_serves_lose_it() {
        let reason = |operation| Error::new(operation, Errno::TIMEDOUT).reason();
        assert_eq!(reason(Operation::CreateSession), Reason::AgentGone);
        assert_eq!(reason(Operation::Retrieve), Reason::Other);
    }

    #[test]
    fn an_io_error_keeps_kind_and_sentence() {
        let error = io::Error::from(Error::new(Operation::Open, Errno::BUSY));
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("another process has it open"));
    }
}
