// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls of an agent that have no safe wrapper elsewhere: they find the peer of a socket,
//! take the file descriptors that a service manager has passed, and open a file that must not be
//! lost if the agent is killed.

use crate::sys;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// The process that connected a socket, as it was then.
#[derive(Debug)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its group, and its supplementary groups.
    pub gids: Vec<u32>,
    /// Its number.
    pub pid: u32,
    /// A pidfd of it, with which its number can be checked; [`None`] if the kernel is older than
    /// Linux 6.5.
    pub pidfd: Option<OwnedFd>,
}

/// Asks the kernel which process connected a Unix socket.
///
/// # Errors
///
/// Those of `getsockopt(2)` for `SO_PEERCRED` and `SO_PEERGROUPS`.
pub fn peer(socket: impl AsFd) -> Result<Peer, Errno> {
    let socket = socket.as_fd();
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    let mut gids = vec![credentials.gid.as_raw()];
    gids.extend(sys::peer_groups(socket)?);
    Ok(Peer {
        uid: credentials.uid.as_raw(),
        gids,
        pid: u32::try_from(credentials.pid.as_raw_pid()).map_err(|_| Errno::SRCH)?,
        pidfd: sys::peer_pidfd(socket).ok(),
    })
}

/// Lets sending a file descriptor over a connection to `listener` fail with `EPERM`. It counts for
/// connections that are made from now on.
///
/// # Errors
///
/// `ENOPROTOOPT` if the kernel is older than Linux 6.16.
pub fn refuse_files(listener: impl AsFd) -> Result<(), Errno> {
    sys::refuse_files(listener.as_fd())
}

/// Takes the file descriptors that a service manager has passed to this process, with their
/// names, as `sd_listen_fds_with_names(3)` does. They are closed in an exec.
///
/// A program calls this before it opens anything: the numbers of these file descriptors must not be
/// in use otherwise. Every call after the first one returns nothing.
#[must_use]
pub fn inherited() -> Vec<(String, OwnedFd)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let pid = rustix::process::getpid().as_raw_pid();
    if number("LISTEN_PID") != Some(pid) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').chain(std::iter::repeat(""));
    let fds = sys::take_inherited(number("LISTEN_FDS").unwrap_or(0));
    names.map(str::to_owned).zip(fds).collect()
}

/// Opens a file in a child process that shares all file descriptors with this one, and returns
/// when the child has ended.
///
/// Closing an incoming session finishes it, so a process that is killed right after it retrieved
/// one loses its files. In a child, `work` retrieves it *and* gives it to a process that keeps it.
/// If this process is killed meanwhile, the child still completes `work`.
///
/// `work` changes a copy of the memory, so only its result reaches this process. It must not close
/// a file that it has not opened, because that closes the file here too: it must not drop what it
/// has captured, not even out of a cell. It must not panic after it opened the file.
///
/// # Errors
///
/// That of `work`; `EDEADLK` if this process has several threads, or `/proc` is not mounted; those
/// of `clone(2)`; and `ECHILD` if the child was killed. The file can then be open in this process
/// under a number that is not known.
#[doc(hidden)]
pub fn fd_from_child(
    work: &dyn Fn() -> Result<(OwnedFd, bool), Errno>,
) -> Result<(OwnedFd, bool), Errno> {
    sys::fd_from_child(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_makes_no_child() {
        // The test itself runs in a thread of its own.
        let never = || -> Result<(OwnedFd, bool), Errno> { Err(Errno::IO) };
        assert_eq!(fd_from_child(&never).map(|_| ()), Err(Errno::DEADLK));
    }
}
