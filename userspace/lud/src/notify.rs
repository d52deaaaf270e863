// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Messages to the service manager: the protocol of `sd_notify(3)`.

use anyhow::{bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::time::{clock_gettime, ClockId};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// How long the agent waits until the service manager reads a message. All programs wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket of the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl Notifier {
    /// Finds the socket in `$NOTIFY_SOCKET`; [`None`] if no service manager has set it.
    pub fn from_env() -> Result<Option<Self>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(None);
        };
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            [b'/', ..] => SocketAddrUnix::new(path.as_os_str()),
            _ => bail!("$NOTIFY_SOCKET is neither a path nor an abstract address"),
        };
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.context("cannot make a socket")?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))
            .context("cannot use a socket")?;
        Ok(Some(Self {
            socket,
            address: address.context("cannot use $NOTIFY_SOCKET")?,
        }))
    }

    /// Sends a message.
    pub fn send(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(Errno::MSGSIZE);
        }
        // A socket with a timeout is not restarted after a signal, such as the SIGTERM that a child
        // gets when the agent was killed.
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg_addr(
                &self.socket,
                &self.address,
                &[IoSlice::new(text.as_bytes())],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        })?;
        Ok(())
    }

    /// Waits until the service manager has handled everything that was sent.
    ///
    /// It closes the file descriptor that comes with `BARRIER=1` when it reads that message.
    pub fn barrier(&self) -> Result<(), Errno> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        self.send("BARRIER=1", Some(theirs.as_fd()))?;
        drop(theirs);
        let mut fds = [PollFd::new(&ours, PollFlags::empty())];
        let timeout = Timespec::try_from(PATIENCE).map_err(|_| Errno::INVAL)?;
        loop {
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => return Ok(()),
                // Signals are read later.
                Err(Errno::INTR) => (),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The message that begins a reload, for a service manager that waits for the end of it.
pub fn reloading() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1000;
    format!("RELOADING=1\nMONOTONIC_USEC={micros}")
}
