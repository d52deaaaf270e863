// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Messages of the protocol as bytes, and on a socket.

use super::protocol::{MAX_LEN, VERSION};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    use super::super::protocol::{Answer, Command, Direction, Entry, Reply, Request, LIST_LEN};
    use super::*;
    use crate::SessionName;
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
