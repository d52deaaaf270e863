// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program of the tests as the kernel.
//!
//! The device and each session are sockets to that program. It sees when the last file descriptor
//! of one is closed, as the kernel does, also if this process was killed.

use crate::device::Orchestrator;
use crate::refusal::Failed;
use crate::store::{Adopted, Item, Store};
use anyhow::{Context, Result};
use liveupdate::agent::protocol::{self, Direction};
use liveupdate::{SessionName, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The device.
struct Fake(OwnedFd);

/// Sends a line with a file; the answer is an errno as text, and perhaps a file. An answer of 0
/// can have more text.
fn call(
    socket: &OwnedFd,
    line: &str,
    file: Option<BorrowedFd<'_>>,
) -> Result<(String, Option<OwnedFd>), Failed> {
    let failed = |errno| Failed::new(errno, "the test's kernel does not answer");
    protocol::send(socket, line.as_bytes(), file, SendFlags::empty()).map_err(failed)?;
    let (answer, fd) = protocol::receive(socket, RecvFlags::empty()).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (errno, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
    match errno.parse() {
        Ok(0) => Ok((rest.to_owned(), fd)),
        Ok(errno) => Err(Failed::new(
            Errno::from_raw_os_error(errno),
            "the test's kernel says no",
        )),
        Err(_) => Err(failed(Errno::PROTO)),
    }
}

fn with_file(answer: (String, Option<OwnedFd>)) -> Result<OwnedFd, Failed> {
    answer
        .1
        .ok_or_else(|| Failed::new(Errno::PROTO, "the test's kernel sent no file"))
}

impl Orchestrator for Fake {
    fn create(&self, name: &SessionName) -> Result<OwnedFd, Failed> {
        with_file(call(&self.0, &format!("create {name}"), None)?)
    }

    fn retrieve(&self, name: &SessionName) -> Result<OwnedFd, Failed> {
        with_file(call(&self.0, &format!("retrieve {name}"), None)?)
    }

    fn identify(&self, fd: &OwnedFd) -> Option<(Direction, SessionName)> {
        let (text, _) = call(fd, "identify", None).ok()?;
        let (direction, name) = text.split_once(' ')?;
        let direction = match direction {
            "outgoing" => Direction::Outgoing,
            "incoming" => Direction::Incoming,
            _ => return None,
        };
        Some((direction, SessionName::new(name).ok()?))
    }

    fn preserve(
        &self,
        session: &OwnedFd,
        token: Token,
        file: BorrowedFd<'_>,
    ) -> Result<(), Failed> {
        call(session, &format!("preserve {}", token.get()), Some(file)).map(|_| ())
    }

    fn retrieve_file(&self, session: &OwnedFd, token: Token) -> Result<OwnedFd, Failed> {
        with_file(call(session, &format!("file {}", token.get()), None)?)
    }

    fn finish(&self, session: &OwnedFd) -> Result<(), Failed> {
        call(session, "finish", None).map(|_| ())
    }
}

/// As [`crate::device::open`].
pub fn open(path: &Path, adopted: &mut Adopted, store: &Store) -> Result<Box<dyn Orchestrator>> {
    if let Some(fd) = adopted.take(Item::Device) {
        return Ok(Box::new(Fake(fd)));
    }
    let connect = || {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok::<_, Errno>(socket)
    };
    let socket = connect().context("the test's kernel is not there")?;
    // The kernel says so in open(2).
    call(&socket, "open", None)?;
    store.add(Item::Device, &socket.as_fd().try_clone_to_owned()?)?;
    Ok(Box::new(Fake(socket)))
}
