// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages between a program and the agent.
//!
//! A connection is a Unix socket of type `SOCK_SEQPACKET`, which keeps messages apart. The
//! program sends a [`Request`], and the agent answers with a [`Reply`], with one file descriptor
//! if the answer is a session. A message is a CBOR map (RFC 8949) of at most [`MAX_LEN`] bytes.
//!
//! The kernel tells the agent which user and process is connected (`SO_PEERCRED`). The program
//! sends no credentials and no file descriptors: sending one fails with `EPERM`. Before Linux 6.16,
//! the agent closes it.

use crate::SessionName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

pub use super::wire::{decode, encode, receive, send, Malformed};

/// The version of the messages.
pub const VERSION: u32 = 1;

/// The length of the longest message, in bytes.
pub const MAX_LEN: usize = 4096;

/// The largest number of sessions in one answer; the program asks again for the next ones.
/// That many fit into a message even if their names are the longest.
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
    /// Open an outgoing session again, for a program that lost its file descriptor.
    Open {
        /// Its name.
        name: SessionName,
    },
    /// Retrieve an incoming session. Until it is released, it can be retrieved again.
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
    /// The agent did not do it.
    Refused(Refusal),
}

/// Why the agent does not do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The errno that the call is to fail with.
    pub errno: i32,
    /// What kind of refusal it is.
    pub cause: Cause,
    /// The reason as a sentence for people.
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
    /// The user that owns it.
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
