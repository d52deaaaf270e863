// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Signals as bytes of a socket, so that the loop can poll for them.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// SIGTERM or SIGINT: end.
    pub end: bool,
    /// SIGHUP: read the policy again.
    pub reload: bool,
}

/// The signals that the agent handles.
#[derive(Debug)]
pub struct Signals {
    end: UnixStream,
    reload: UnixStream,
}

impl Signals {
    /// Handles them from now on.
    pub fn new() -> io::Result<Self> {
        let (end, end_writer) = UnixStream::pair()?;
        let (reload, reload_writer) = UnixStream::pair()?;
        for stream in [&end, &reload] {
            stream.set_nonblocking(true)?;
        }
        pipe::register(SIGINT, end_writer.try_clone()?)?;
        pipe::register(SIGTERM, end_writer)?;
        pipe::register(SIGHUP, reload_writer)?;
        Ok(Self { end, reload })
    }

    /// What to wait for.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.end.as_fd(), self.reload.as_fd()]
    }

    /// Takes the signals that have come.
    pub fn take(&mut self) -> Pending {
        let came = |mut stream: &UnixStream| {
            let mut bytes = [0; 64];
            matches!(stream.read(&mut bytes), Ok(1..))
        };
        Pending {
            end: came(&self.end),
            reload: came(&self.reload),
        }
    }
}
