// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The loop: programs connect, ask, and are answered, one after the other.
//!
//! No program can hold another one up. The loop never waits for one of them: all sockets are
//! non-blocking, and each is read once a round. A program that does not read its answers is
//! disconnected. If there are too many connections, the one that has been silent for longest
//! goes, so a new one is always accepted.

use crate::own;
use crate::peer;
use crate::point::point;
use crate::policy::{Denied, Grant, Policy, Verb, Who};
use crate::refusal::refuse;
use crate::rules;
use crate::sessions::Sessions;
use crate::signals::Signals;
use anyhow::{Context, Result};
use liveupdate::agent::protocol::{
    self, Answer, Cause, Command, Malformed, Refusal, Reply, Request, LIST_LEN,
};
use liveupdate::SessionName;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
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
    /// When it was last heard of.
    heard: Instant,
}

/// The loop and what it needs.
pub struct Server {
    listener: OwnedFd,
    signals: Signals,
    policy: Policy,
    path: PathBuf,
    connections: Vec<Connection>,
    /// Nothing is accepted until then.
    paused: Option<Instant>,
}

impl Server {
    /// Serves programs that connect to `listener`. The policy is read again from `path`.
    pub fn new(listener: OwnedFd, signals: Signals, policy: Policy, path: PathBuf) -> Self {
        Self {
            listener,
            signals,
            policy,
            path,
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

    /// Waits for something to do: whether somebody connects, and which connections have sent
    /// something.
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
        match rules::load(&self.path) {
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
                tracing::error!("cannot see who connects: {errno}");
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
            answer(connection, policy, sessions)
        });
    }
}

/// Reads one request and answers it. Returns whether the connection goes on.
fn answer(connection: &Connection, policy: &Policy, sessions: &mut Sessions) -> bool {
    let request = match protocol::receive(&connection.socket, RecvFlags::DONTWAIT) {
        Ok((bytes, _)) if bytes.is_empty() => return false,
        Ok((bytes, _)) => protocol::decode::<Request>(&bytes),
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(Errno::MSGSIZE) => Err(Malformed::TooLong),
        Err(_) => return false,
    };
    let who = &connection.who;
    let (answer, fd, undelivered) = match request {
        Ok(request) => match carry_out(&request.command, who, policy, sessions) {
            Ok((answer, fd)) => {
                let created = match request.command {
                    Command::Create { name } => Some(name),
                    _ => None,
                };
                (answer, fd, created)
            }
            Err(refusal) => {
                tracing::info!(
                    "refuses {} to user {}, process {}: {}",
                    described(&request.command),
                    who.uid,
                    who.pid,
                    refusal.sentence
                );
                (Answer::Refused(refusal), None, None)
            }
        },
        Err(malformed) => {
            tracing::info!("user {}, process {}: {malformed}", who.uid, who.pid);
            let refusal = refuse(Cause::Malformed, Errno::PROTO, malformed.to_string());
            (Answer::Refused(refusal), None, None)
        }
    };
    let sent = protocol::encode(&Reply::new(answer))
        .map_err(|_| Errno::MSGSIZE)
        .and_then(|reply| {
            let fd = fd.as_ref().map(AsFd::as_fd);
            protocol::send(&connection.socket, &reply, fd, SendFlags::DONTWAIT)
        });
    point("answered");
    if let Err(errno) = sent {
        tracing::debug!("process {} does not take its answer: {errno}", who.pid);
        drop(fd);
        if let Some(name) = undelivered {
            sessions.undelivered(&name);
        }
        return false;
    }
    true
}

fn described(command: &Command) -> String {
    let (verb, name) = match command {
        Command::Create { name } => ("create", name),
        Command::Open { name } => ("open", name),
        Command::Retrieve { name } => ("retrieve", name),
        Command::Discard { name } => ("discard", name),
        Command::Release { name } => ("release", name),
        Command::List { .. } => return "list".to_owned(),
    };
    format!("{verb} \"{name}\"")
}

/// Asks the policy, and refuses the agent's own name.
fn allowed(policy: &Policy, who: &Who, verb: Verb, name: &SessionName) -> Result<Grant, Refusal> {
    if name.as_bytes() == own::NAME.as_bytes() {
        let sentence = format!("the name \"{name}\" is that of the agent's own session");
        return Err(refuse(Cause::Policy, Errno::ACCESS, sentence));
    }
    policy
        .decide(who, verb, name.as_bytes())
        .map_err(|denied: Denied| {
            let sentence = format!("user {} may not {verb} \"{name}\": {denied}", who.uid);
            refuse(Cause::Policy, Errno::ACCESS, sentence)
        })
}

/// Does what a program asks for.
fn carry_out(
    command: &Command,
    who: &Who,
    policy: &Policy,
    sessions: &mut Sessions,
) -> Result<(Answer, Option<OwnedFd>), Refusal> {
    let session = |fd| Ok((Answer::Session, Some(fd)));
    let (done, answer) = match command {
        Command::Create { name } => {
            let grant = allowed(policy, who, Verb::Create, name)?;
            let fd = sessions.create(who, grant, name)?;
            ("creates", session(fd))
        }
        Command::Open { name } => {
            let grant = allowed(policy, who, Verb::Create, name)?;
            ("opens", session(sessions.open(who, grant, name)?))
        }
        Command::Retrieve { name } => {
            let grant = allowed(policy, who, Verb::Retrieve, name)?;
            ("retrieves", session(sessions.retrieve(who, grant, name)?))
        }
        Command::Discard { name } => {
            let grant = allowed(policy, who, Verb::Discard, name)?;
            sessions.discard(who, grant, name)?;
            ("discards", Ok((Answer::Done, None)))
        }
        Command::Release { name } => {
            let grant = allowed(policy, who, Verb::Retrieve, name)?;
            sessions.release(who, grant, name)?;
            ("releases", Ok((Answer::Done, None)))
        }
        Command::List { after } => {
            let visible = |name: &SessionName| policy.decide(who, Verb::List, name.as_bytes()).ok();
            let (sessions, more) = sessions.list(who, *after, LIST_LEN, visible);
            return Ok((Answer::Sessions { sessions, more }, None));
        }
    };
    tracing::info!(
        "user {}, process {} {done}: {}",
        who.uid,
        who.pid,
        described(command)
    );
    sessions.say_status();
    answer
}
