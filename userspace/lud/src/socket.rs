// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The socket that programs connect to.

use crate::store::Adopted;
use anyhow::{Context, Result};
use liveupdate::agent::server;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The number of programs that can wait for the agent before `connect(2)` blocks.
const BACKLOG: i32 = 64;

/// Whether the service manager has passed a socket that can be used.
fn is_listener(fd: &OwnedFd) -> bool {
    sockopt::socket_acceptconn(fd) == Ok(true)
        && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
}

/// Programs must not send files: closing one can block the agent for as long as the program likes.
fn refuse_files(listener: &OwnedFd) {
    if let Err(errno) = server::refuse_files(listener) {
        tracing::warn!("programs can send files that block the agent (Linux before 6.16): {errno}");
    }
}

/// Takes the socket of the service manager, or else makes one.
///
/// The caller has the device, which has one opener, so it is the only agent: a socket at the path
/// is left over from an earlier one.
pub fn listener(adopted: &mut Adopted, path: &Path) -> Result<OwnedFd> {
    for (name, fd) in adopted.take_others() {
        if is_listener(&fd) {
            rustix::io::ioctl_fionbio(&fd, true).context("cannot use the socket")?;
            refuse_files(&fd);
            return Ok(fd);
        }
        tracing::warn!("the service manager has passed \"{name:?}\", which has no use here");
    }
    let bind = || -> Result<OwnedFd, Errno> {
        let is_socket = rustix::fs::lstat(path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
        if is_socket {
            rustix::fs::unlink(path)?;
        }
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        // Every user may connect: the policy decides.
        rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
        refuse_files(&socket);
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    bind().with_context(|| format!("cannot listen at {}", path.display()))
}
