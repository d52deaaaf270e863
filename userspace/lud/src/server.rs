// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The loop: programs connect, ask, and are answered, one after the other.
//!
//! No program can hold another one up. The loop never waits for a program: all sockets are
//! non-blocking, and each is read once a round. It closes the connection of a program that does not
//! read its answers. If there are too many connections, it closes the one that was silent for
//! longest, so it always accepts a new one.

use crate::peer;
use crate::policy::{Policy, Who};
use crate::requests;
use crate::rules::Source;
use crate::sessions::Sessions;
use crate::signals::Signals;
use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Connections in all.
const MAX_CONNECTIONS: usize = 64;
/// Connections of one user.
const MAX_PER_USER: usize = 16;
/// How long accepting pauses when this process has too many files open.
const PAUSE: Duration = Duration::from_secs(1);

/// A program that is connected.
struct Connection {
    socket: OwnedFd,
    who: Who,
    /// When its last message came.
    heard: Instant,
}

/// The loop and what it needs.
pub struct Server {
    listener: OwnedFd,
    signals: Signals,
    policy: Policy,
    source: Source,
    connections: Vec<Connection>,
    /// The loop accepts nothing before this time.
    paused: Option<Instant>,
}

impl Server {
    /// Serves programs that connect to `listener`. The policy is read again from `source`.
    pub fn new(listener: OwnedFd, signals: Signals, policy: Policy, source: Source) -> Self {
        Self {
            listener,
            signals,
            policy,
            source,
            connections: Vec::new(),
            paused: None,
        }
    }

    /// Serves until a signal says to end. Sessions stay in the store.
    pub fn run(mut self, sessions: &mut Sessions) -> Result<()> {
        sessions.tell("READY=1");
        tracing::info!("ready");
        loop {
            let (accept, readable) = self.wait()?;
            let pending = self.signals.take();
            if pending.end {
                sessions.tell("STOPPING=1");
                tracing::info!("ends; what is stored stays so");
                return Ok(());
            }
            if pending.reload {
                self.reload(sessions);
            }
            self.serve(&readable, sessions);
            if accept {
                self.accept();
            }
        }
    }

    /// Waits for something to do. Returns whether a program connects, and for each connection
    /// whether it has a message.
    fn wait(&mut self) -> Result<(bool, Vec<bool>)> {
        let now = Instant::now();
        self.paused = self.paused.filter(|until| *until > now);
        let timeout = self.paused.map(|until| Timespec {
            tv_sec: i64::try_from((until - now).as_secs() + 1).unwrap_or(1),
            tv_nsec: 0,
        });
        let [end, reload] = self.signals.fds();
        let listens = match self.paused {
            Some(_) => PollFlags::empty(),
            None => PollFlags::IN,
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(end, PollFlags::IN),
            PollFd::from_borrowed_fd(reload, PollFlags::IN),
            PollFd::new(&self.listener, listens),
        ];
        fds.extend(
            self.connections
                .iter()
                .map(|connection| PollFd::new(&connection.socket, PollFlags::IN)),
        );
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(errno) => return Err(errno).context("cannot wait"),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty()).skip(2);
        let accept = ready.next().unwrap_or(false) && self.paused.is_none();
        Ok((accept, ready.collect()))
    }

    fn reload(&mut self, sessions: &Sessions) {
        sessions.tell(&crate::notify::reloading());
        match self.source.load() {
            Ok(policy) => {
                tracing::info!("policy: {}", policy.summary());
                self.policy = policy;
            }
            Err(error) => tracing::error!("the old policy stays: {error:#}"),
        }
        sessions.tell("READY=1");
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
            Err(errno) => {
                tracing::error!("cannot accept a connection: {errno}");
                self.paused = Some(Instant::now() + PAUSE);
                return;
            }
        };
        let who = match peer::who(&socket) {
            Ok(who) => who,
            Err(errno) => {
                tracing::error!("cannot see which user connects: {errno}");
                return;
            }
        };
        let of_user = |connection: &&Connection| connection.who.uid == who.uid;
        let full = self.connections.iter().filter(of_user).count() >= MAX_PER_USER;
        if full {
            self.disconnect_oldest(Some(who.uid));
        } else if self.connections.len() >= MAX_CONNECTIONS {
            self.disconnect_oldest(None);
        }
        self.connections.push(Connection {
            socket,
            who,
            heard: Instant::now(),
        });
    }

    /// Disconnects the program that has been silent for longest, of one user or of all.
    fn disconnect_oldest(&mut self, uid: Option<u32>) {
        let oldest = self
            .connections
            .iter()
            .enumerate()
            .filter(|(_, connection)| uid.is_none_or(|uid| uid == connection.who.uid))
            .min_by_key(|(_, connection)| connection.heard)
            .map(|(at, _)| at);
        if let Some(at) = oldest {
            let connection = self.connections.swap_remove(at);
            tracing::debug!("disconnects process {}, too many", connection.who.pid);
        }
    }

    fn serve(&mut self, readable: &[bool], sessions: &mut Sessions) {
        let policy = &self.policy;
        let mut readable = readable.iter();
        self.connections.retain_mut(|connection| {
            if readable.next() != Some(&true) {
                return true;
            }
            connection.heard = Instant::now();
            requests::answer(&connection.socket, &connection.who, policy, sessions)
        });
    }
}
