// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions from the agent `lud`, for programs that may not open the device.
//!
//! The device has one opener. On a host with several users of live update that is `lud`. It
//! creates and retrieves sessions for programs that its policy allows, and passes them over a
//! Unix socket. A session from the agent is the same as one from the device: the program preserves
//! and retrieves files itself, without the agent.
//!
//! ```no_run
//! use liveupdate::agent::Host;
//! use liveupdate::{SessionName, Token};
//! # use std::os::fd::OwnedFd;
//! # fn f(ram: OwnedFd) -> Result<(), Box<dyn std::error::Error>> {
//!
//! const RAM: Token = Token::new(1);
//! let name: SessionName = "vm-1".parse()?;
//!
//! // In the old kernel: the device if this program can open it, else the agent.
//! let session = Host::open()?.create_session(&name)?;
//! session.preserve(RAM, &ram)?;
//!
//! // In the next kernel.
//! let host = Host::open()?;
//! let session = host.retrieve_session(&name)?;
//! let ram = session.retrieve(RAM)?;
//! host.finish_session(session)?;
//! # drop(ram);
//! # Ok(())
//! # }
//! ```
//!
//! # What the agent keeps
//!
//! - **An outgoing session**, unless the policy says `keep = false`. It crosses also if the
//!   program that created it ends before the kexec, as programs do when an init system reboots. A
//!   program that was restarted gets it again with [`Agent::open_session`]. It ends after
//!   [`Agent::discard`], when the program has closed its own file descriptor.
//! - **An incoming session** from when it is retrieved until [`Agent::release`]. Until then a
//!   program that was restarted can retrieve it again. The last file descriptor that is closed
//!   finishes the session, so a program calls [`Agent::finish`], which does both.
//! - **The owner of a session.** It crosses kexec too. In the next kernel only the same user can
//!   retrieve the session, and root, and users that have `any_owner` in the policy.
//!
//! # When the agent ends in the middle of a call
//!
//! The call fails with [`AgentGone`](crate::Reason::AgentGone). The agent may have carried it out.
//! After [`create_session`](Agent::create_session), the program calls
//! [`open_session`](Agent::open_session), and creates the session again if there is none. All
//! other calls can be repeated; [`discard`](Agent::discard) and [`release`](Agent::release) then
//! fail with [`SessionAbsent`](crate::Reason::SessionAbsent) if they were carried out before.

mod host;
pub mod protocol;
pub mod server;
mod wire;

use crate::{Error, IncomingSession, Operation, OutgoingSession, SessionName};
pub use host::Host;

use protocol::{Answer, Command, Entry, Reply, Request, MAX_SENTENCE};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program waits for an answer. The agent may be starting.
const PATIENCE: Duration = Duration::from_secs(30);

/// The agent, as a program sees it.
///
/// Every call makes a connection of its own, so the agent can restart between two calls. The
/// agent sees the user that the process has during the call. So a program that drops its
/// privileges does that before its first call.
#[derive(Clone, Debug)]
pub struct Agent {
    path: PathBuf,
}

impl Agent {
    /// Where the agent listens.
    pub const PATH: &'static str = "/run/lud.sock";

    /// Connects to the agent once, to see whether there is one.
    ///
    /// # Errors
    ///
    /// [`AgentAbsent`](crate::Reason::AgentAbsent) if no agent listens.
    pub fn connect() -> Result<Self, Error> {
        Self::connect_path(Self::PATH)
    }

    /// The same for an agent that listens at another path.
    ///
    /// # Errors
    ///
    /// As [`Agent::connect`].
    pub fn connect_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let agent = Self {
            path: path.as_ref().to_owned(),
        };
        agent.socket()?;
        Ok(agent)
    }

    /// Creates a session for the next kernel, which the agent keeps until it is discarded.
    ///
    /// # Errors
    ///
    /// [`Permission`](crate::Reason::Permission) if the policy of the agent does not allow it,
    /// [`NoSpace`](crate::Reason::NoSpace) if the user has too many, and those of
    /// [`Device::create_session`](crate::Device::create_session).
    pub fn create_session(&self, name: &SessionName) -> Result<OutgoingSession, Error> {
        let fd = self.session(
            Operation::CreateSession,
            name,
            Command::Create { name: *name },
        )?;
        OutgoingSession::try_from(fd)
            .map_err(Error::from)
            .and_then(|session| checked(session, Operation::CreateSession, name))
    }

    /// Opens an outgoing session again that the agent keeps, with the files that were preserved
    /// in it.
    ///
    /// # Errors
    ///
    /// [`SessionAbsent`](crate::Reason::SessionAbsent) if the agent keeps none of that name,
    /// [`Permission`](crate::Reason::Permission) if it belongs to another user.
    pub fn open_session(&self, name: &SessionName) -> Result<OutgoingSession, Error> {
        let fd = self.session(Operation::OpenSession, name, Command::Open { name: *name })?;
        OutgoingSession::try_from(fd)
            .map_err(Error::from)
            .and_then(|session| checked(session, Operation::OpenSession, name))
    }

    /// Retrieves a session of the previous kernel. The agent keeps it until it is released, and
    /// until then it can be retrieved again.
    ///
    /// # Errors
    ///
    /// [`Permission`](crate::Reason::Permission) if it belongs to another user, or the policy does not
    /// allow it, and those of [`Device::retrieve_session`](crate::Device::retrieve_session).
    pub fn retrieve_session(&self, name: &SessionName) -> Result<IncomingSession, Error> {
        let command = Command::Retrieve { name: *name };
        let fd = self.session(Operation::RetrieveSession, name, command)?;
        IncomingSession::try_from(fd)
            .map_err(Error::from)
            .and_then(|session| checked(session, Operation::RetrieveSession, name))
    }

    /// Tells the agent to drop an outgoing session. Its files are unpreserved as soon as the
    /// program has dropped it too.
    ///
    /// # Errors
    ///
    /// [`SessionAbsent`](crate::Reason::SessionAbsent), [`Permission`](crate::Reason::Permission).
    pub fn discard(&self, name: &SessionName) -> Result<(), Error> {
        self.done(
            Operation::DiscardSession,
            name,
            Command::Discard { name: *name },
        )
    }

    /// Tells the agent to drop an incoming session. If no other process has it, and it is not
    /// finished, this finishes it: files that no process has retrieved are freed.
    ///
    /// # Errors
    ///
    /// [`SessionAbsent`](crate::Reason::SessionAbsent) if it was not retrieved,
    /// [`Permission`](crate::Reason::Permission).
    pub fn release(&self, name: &SessionName) -> Result<(), Error> {
        self.done(
            Operation::ReleaseSession,
            name,
            Command::Release { name: *name },
        )
    }

    /// Finishes a session, and tells the agent to drop it.
    ///
    /// # Errors
    ///
    /// Those of [`IncomingSession::finish`], after which the agent still has the session and
    /// [`Agent::retrieve_session`] returns it again; and those of [`Agent::release`], after which
    /// the session is finished.
    pub fn finish(&self, session: IncomingSession) -> Result<(), Error> {
        let name = *session.name();
        session.finish()?;
        self.release(&name)
    }

    /// Lists the sessions that this user may open, retrieve or discard, outgoing ones first, each
    /// direction sorted by name. Root sees all, unless a rule of the policy says otherwise.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let failed = |errno| Error::new(Operation::ListSessions, errno);
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let after = all.last().map(|entry| (entry.direction, entry.name));
            let (answer, _) = self.ask(Operation::ListSessions, None, Command::List { after })?;
            let Answer::Sessions { sessions, more } = answer else {
                return Err(failed(Errno::PROTO));
            };
            // The order makes sure that this ends, whatever the agent answers.
            for entry in sessions {
                let key = (entry.direction, entry.name);
                if all
                    .last()
                    .is_some_and(|last| (last.direction, last.name) >= key)
                {
                    return Err(failed(Errno::PROTO));
                }
                all.push(entry);
            }
            if !more || after == all.last().map(|entry| (entry.direction, entry.name)) {
                return Ok(all);
            }
        }
    }

    fn socket(&self) -> Result<OwnedFd, Error> {
        let connect = || {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?;
            for direction in [Timeout::Recv, Timeout::Send] {
                set_socket_timeout(&socket, direction, Some(PATIENCE))?;
            }
            rustix::net::connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
            Ok(socket)
        };
        connect().map_err(|errno| {
            // What connect(2) fails with after the timeout, if the queue of the agent is full.
            let errno = if errno == Errno::AGAIN {
                Errno::TIMEDOUT
            } else {
                errno
            };
            Error::new(Operation::Connect, errno)
        })
    }

    /// Sends a request, and waits for the answer.
    fn ask(
        &self,
        operation: Operation,
        name: Option<&SessionName>,
        command: Command,
    ) -> Result<(Answer, Option<OwnedFd>), Error> {
        let socket = self.socket()?;
        let failed = |errno| {
            // What a socket with a timeout says.
            let errno = match errno {
                Errno::AGAIN => Errno::TIMEDOUT,
                Errno::MSGSIZE => Errno::PROTO,
                errno => errno,
            };
            let error = Error::new(operation, errno);
            match name {
                Some(name) => error.session(name),
                None => error,
            }
        };
        let request =
            protocol::encode(&Request::new(command)).map_err(|_| failed(Errno::MSGSIZE))?;
        protocol::send(&socket, &request, None, SendFlags::empty()).map_err(failed)?;
        let (reply, fd) = loop {
            match protocol::receive(&socket, RecvFlags::empty()) {
                Err(Errno::INTR) => (),
                other => break other.map_err(failed)?,
            }
        };
        if reply.is_empty() {
            return Err(failed(Errno::CONNRESET));
        }
        let reply: Reply = protocol::decode(&reply).map_err(|_| failed(Errno::PROTO))?;
        match reply.answer {
            Answer::Refused(refusal) => {
                let errno = match refusal.errno {
                    errno @ 1..=4095 => Errno::from_raw_os_error(errno),
                    _ => Errno::PROTO,
                };
                Err(failed(errno).explained(bounded(&refusal.sentence)))
            }
            answer => Ok((answer, fd)),
        }
    }

    /// Sends a request whose answer is a session.
    fn session(
        &self,
        operation: Operation,
        name: &SessionName,
        command: Command,
    ) -> Result<OwnedFd, Error> {
        match self.ask(operation, Some(name), command)? {
            (Answer::Session, Some(fd)) => Ok(fd),
            _ => Err(Error::new(operation, Errno::PROTO).session(name)),
        }
    }

    /// Sends a request whose answer is that it was carried out.
    fn done(
        &self,
        operation: Operation,
        name: &SessionName,
        command: Command,
    ) -> Result<(), Error> {
        match self.ask(operation, Some(name), command)? {
            (Answer::Done, _) => Ok(()),
            _ => Err(Error::new(operation, Errno::PROTO).session(name)),
        }
    }
}

/// A session of either direction.
trait Named {
    fn named(&self) -> &SessionName;
}

impl Named for OutgoingSession {
    fn named(&self) -> &SessionName {
        self.name()
    }
}

impl Named for IncomingSession {
    fn named(&self) -> &SessionName {
        self.name()
    }
}

/// A session with another name is not the one that was asked for.
fn checked<T: Named>(session: T, operation: Operation, name: &SessionName) -> Result<T, Error> {
    if session.named() == name {
        Ok(session)
    } else {
        Err(Error::new(operation, Errno::PROTO).session(name))
    }
}

/// A sentence of the agent may go to a terminal.
fn bounded(sentence: &str) -> String {
    let printable = sentence.chars().filter(|c| !c.is_control());
    let mut text = String::from("the agent says: ");
    for c in printable {
        if text.len() + c.len_utf8() > MAX_SENTENCE {
            break;
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn an_absent_agent_is_told_from_other_errors() {
        let error = Agent::connect_path("/nonexistent/lud.sock").expect_err("absent");
        assert_eq!(error.reason(), Reason::AgentAbsent);
        assert_eq!(error.operation(), Operation::Connect);
    }

    #[test]
    fn a_sentence_of_the_agent_is_bounded_and_printable() {
        let text = bounded(&("a\x1b[m\n".to_owned() + &"\u{20ac}".repeat(MAX_SENTENCE)));
        assert!(text.starts_with("the agent says: a[m\u{20ac}"));
        assert!(text.len() <= MAX_SENTENCE);
    }
}
