// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a program and the agent say to each other: the messages, and how one is sent.
//!
//! A connection is a Unix socket of type `SOCK_SEQPACKET`, which keeps messages apart. The
//! program sends a [`Request`], and the agent answers with a [`Reply`], with one file descriptor
//! if the answer is a session. A message is a CBOR map (RFC 8949) of at most [`MAX_LEN`] bytes.
//!
//! The agent knows who asks from the kernel (`SO_PEERCRED`). The program sends no credentials,
//! and file descriptors that it sends are closed.

use crate::SessionName;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The version of the messages.
pub const VERSION: u32 = 1;

/// The length of the longest message, in bytes.
pub const MAX_LEN: usize = 4096;

/// How many sessions a list has at most; the next ones are asked for. As many fit into a
/// message, whatever their names are.
pub const LIST_LEN: usize = 16;

/// The length of the longest [`Refusal::sentence`], in bytes.
pub const MAX_SENTENCE: usize = 512;

/// A message of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What the agent is to do.
    pub command: Command,
}

impl Request {
    /// Makes a message of this version.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self {
            version: VERSION,
            command,
        }
    }
}

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Create an outgoing session.
    Create {
        /// Its name.
        name: SessionName,
    },
    /// Give an outgoing session once more, to a program that lost its file descriptor.
    Open {
        /// Its name.
        name: SessionName,
    },
    /// Give an incoming session. As long as it is not released, it can be asked for again.
    Retrieve {
        /// Its name.
        name: SessionName,
    },
    /// Drop an outgoing session.
    Discard {
        /// Its name.
        name: SessionName,
    },
    /// Drop an incoming session: the program has finished it.
    Release {
        /// Its name.
        name: SessionName,
    },
    /// List the sessions that the program may retrieve, open or discard.
    List {
        /// The last session of the list before this one.
        after: Option<(Direction, SessionName)>,
    },
}

/// For which kernel a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// For the next kernel.
    Outgoing,
    /// Of the previous kernel.
    Incoming,
}

/// A message of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// The answer.
    pub answer: Answer,
}

impl Reply {
    /// Makes a message of this version.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self {
            version: VERSION,
            answer,
        }
    }
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A session; its file descriptor is with the message.
    Session,
    /// It is done.
    Done,
    /// Sessions, outgoing ones first, each direction sorted by name.
    Sessions {
        /// At most [`LIST_LEN`] of them.
        sessions: Vec<Entry>,
        /// Whether there are more.
        more: bool,
    },
    /// It is not done, and nothing has changed.
    Refused(Refusal),
}

/// Why the agent does not do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The errno that the call is to fail with.
    pub errno: i32,
    /// What kind of refusal it is.
    pub cause: Cause,
    /// The same for people.
    pub sentence: String,
}

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The policy does not allow it.
    Policy,
    /// The session belongs to another user.
    Owner,
    /// A limit is reached.
    Limit,
    /// There is no such session.
    Absent,
    /// The kernel refused it.
    Kernel,
    /// The agent could not do it.
    Agent,
    /// The request is not understood.
    Malformed,
    /// A cause of a later version.
    #[serde(other)]
    Other,
}

/// A session that the agent knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: SessionName,
    /// For which kernel it is.
    pub direction: Direction,
    /// The user it belongs to.
    pub owner: u32,
    /// Whether the agent has a file descriptor of it.
    pub held: bool,
    /// The process that has created or retrieved it in this kernel.
    pub pid: Option<u32>,
    /// Seconds since then, if the agent has not been restarted.
    pub age: Option<u64>,
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl serde::de::Visitor<'_> for Bytes {
            type Value = SessionName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a session's name")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<SessionName, E> {
                SessionName::new(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is longer than [`MAX_LEN`].
    TooLong,
    /// It is of another version of the protocol.
    Version(u32),
    /// It is not a message.
    Garbage,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a message is longer than {MAX_LEN} bytes"),
            Self::Version(version) => {
                write!(f, "a message has version {version}, known is {VERSION}")
            }
            Self::Garbage => f.write_str("a message is not understood"),
        }
    }
}

/// Writes a message.
///
/// # Errors
///
/// [`Malformed::TooLong`] if it has more than [`MAX_LEN`] bytes.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes).map_err(|_| Malformed::Garbage)?;
    if bytes.len() > MAX_LEN {
        return Err(Malformed::TooLong);
    }
    Ok(bytes)
}

/// Reads a message. A message of another version is told from one that is damaged.
///
/// # Errors
///
/// Says what is wrong.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    /// What all versions have.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    /// A message nests a few levels deep.
    const DEPTH: usize = 8;

    if bytes.len() > MAX_LEN {
        return Err(Malformed::TooLong);
    }
    let parsed = ciborium::de::from_reader_with_recursion_limit::<Versioned, _>(bytes, DEPTH);
    match parsed {
        Ok(Versioned { version: VERSION }) => (),
        Ok(Versioned { version }) => return Err(Malformed::Version(version)),
        Err(_) => return Err(Malformed::Garbage),
    }
    let mut rest = bytes;
    let message = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH)
        .map_err(|_| Malformed::Garbage)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(Malformed::Garbage)
    }
}

/// Sends a message, with a file descriptor if there is one.
///
/// # Errors
///
/// Those of `sendmsg(2)`.
pub fn send(
    socket: impl AsFd,
    message: &[u8],
    fd: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::MSGSIZE);
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        flags | SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a message, and a file descriptor if one is with it. The message is empty at the end
/// of the connection.
///
/// # Errors
///
/// Those of `recvmsg(2)`, and `EMSGSIZE` if it has more than [`MAX_LEN`] bytes.
pub fn receive(socket: impl AsFd, flags: RecvFlags) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
    let mut message = vec![0; MAX_LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        flags | RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fd = None;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            for another in fds {
                fd.get_or_insert(another);
            }
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    message.truncate(received.bytes);
    Ok((message, fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(bytes: impl AsRef<[u8]>) -> SessionName {
        SessionName::new(bytes).expect("a good name")
    }

    fn any_name() -> impl Strategy<Value = SessionName> {
        proptest::collection::vec(1_u8..=255, 1..=63).prop_map(name)
    }

    proptest! {
        #[test]
        fn a_request_comes_back(name in any_name(), other in any_name()) {
            for command in [
                Command::Create { name },
                Command::Open { name },
                Command::Retrieve { name },
                Command::Discard { name },
                Command::Release { name },
                Command::List { after: None },
                Command::List { after: Some((Direction::Incoming, other)) },
            ] {
                let request = Request::new(command);
                let bytes = encode(&request).expect("short");
                prop_assert_eq!(decode::<Request>(&bytes), Ok(request.clone()));
                let mut more = bytes;
                more.push(0);
                prop_assert_eq!(decode::<Request>(&more), Err(Malformed::Garbage));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }
    }

    #[test]
    fn the_longest_list_is_a_message() {
        let entry = Entry {
            name: name([0xff; SessionName::MAX_LEN]),
            direction: Direction::Incoming,
            owner: u32::MAX,
            held: false,
            pid: Some(u32::MAX),
            age: Some(u64::MAX),
        };
        let reply = Reply::new(Answer::Sessions {
            sessions: vec![entry; LIST_LEN],
            more: true,
        });
        let bytes = encode(&reply).expect("short enough");
        assert_eq!(decode::<Reply>(&bytes), Ok(reply));
    }

    #[test]
    fn another_version_is_told_from_garbage() {
        #[derive(Serialize)]
        struct Later {
            version: u32,
            order: &'static str,
        }
        let bytes = encode(&Later {
            version: 2,
            order: "create",
        })
        .expect("short");
        assert_eq!(decode::<Request>(&bytes), Err(Malformed::Version(2)));
        assert_eq!(decode::<Request>(b""), Err(Malformed::Garbage));
        assert_eq!(
            decode::<Request>(&[0; MAX_LEN + 1]),
            Err(Malformed::TooLong)
        );
    }

    #[test]
    fn a_long_message_is_not_cut() {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        theirs.send(&[0; MAX_LEN + 1]).expect("sent");
        assert_eq!(
            receive(&ours, RecvFlags::empty()).map(|_| ()),
            Err(Errno::MSGSIZE)
        );
    }
}
