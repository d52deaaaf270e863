// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sessions that could not be used yet.
//!
//! Closing an incoming session frees what is in it. So when a guest cannot be resumed, for
//! instance because its state needs another version of this program, another process keeps
//! the sessions open at the control socket, for the next try.
//!
//! ```text
//! resume that fails           holder                      next resume
//!   start, sessions      ->     listen
//!   end                  <-     "holds"
//!                               "take"               <-     connect
//!                               sessions             ->     make the virtual machine
//!                               end                  <-     "done", when the guest runs
//! ```
//!
//! The holder serves one client at a time. If that ends before it says "done", the next one
//! gets the sessions. If the guest ran in between, the label of its memory says so.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use liveupdate::Rejected;
use rustix::io::retry_on_intr;
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::guest::Arrived;
use crate::serve::{ask_again, Socket};

/// A client asks for the sessions.
const TAKE: &[u8; 5] = b"take\n";
/// The message that comes with the sessions.
const SESSIONS: &[u8] = b"sessions\n";
/// A client has the sessions in use.
const DONE: &[u8; 5] = b"done\n";
/// A new process holds the sessions.
const HOLDS: &[u8] = b"holds\n";

/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before another try to listen.
const PAUSE: Duration = Duration::from_secs(1);

fn send(stream: &UnixStream, files: [BorrowedFd<'_>; 2]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let message = [IoSlice::new(SESSIONS)];
    retry_on_intr(|| sendmsg(stream, &message, &mut control, SendFlags::NOSIGNAL))
        .context("cannot pass the sessions on")?;
    Ok(())
}

fn receive(stream: &UnixStream) -> Result<[OwnedFd; 2]> {
    let mut bytes = [0; SESSIONS.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry_on_intr(|| {
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        recvmsg(stream, buffer, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .context("cannot take the sessions")?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            files.extend(fds);
        }
    }
    ensure!(
        bytes.get(..message.bytes) == Some(SESSIONS),
        "unknown answer"
    );
    <[OwnedFd; 2]>::try_from(files)
        .ok()
        .context("the process at the control socket holds no sessions")
}

impl Arrived {
    fn of([ram, state]: [OwnedFd; 2]) -> Result<Self> {
        let rejected = |rejected: Rejected<OwnedFd>| rejected.error;
        Ok(Self {
            ram: ram.try_into().map_err(rejected)?,
            state: state.try_into().map_err(rejected)?,
        })
    }

    fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.ram.as_fd(), self.state.as_fd()]
    }
}

/// Sessions that another process holds while this one tries to use them.
pub struct Held(UnixStream);

impl Held {
    /// Asks the process at the control socket for its sessions, if there is one.
    pub fn take(control: &Path) -> Result<Option<(Self, Arrived)>> {
        let Ok(mut stream) = UnixStream::connect(control) else {
            return Ok(None);
        };
        let answer = ask_again(&mut stream, "take");
        answer.with_context(|| format!("a guest runs already at {}", control.display()))?;
        let sessions = Arrived::of(receive(&stream)?)?;
        Ok(Some((Self(stream), sessions)))
    }

    /// The sessions are in use, so the other process can end. Waits until it has.
    pub fn done(mut self) -> Result<()> {
        self.0.write_all(DONE)?;
        self.0.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

/// Leaves the sessions of a guest that was not resumed to a new process, which holds them at the
/// control socket. If there can be none, this process says `why` and holds them, and returns
/// after another one has taken them.
pub fn keep(sessions: &Arrived, name: &str, control: &Path, why: &anyhow::Error) {
    let Err(error) = start(sessions, name, control) else {
        return;
    };
    tracing::error!("{why:#}");
    tracing::error!("{error:#}, so this process holds the sessions");
    loop {
        match Socket::listen(control) {
            Ok(socket) => return serve(socket, sessions.files()),
            Err(error) => tracing::error!("{error:#}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Starts a process that holds the sessions, and waits until it does.
fn start(sessions: &Arrived, name: &str, control: &Path) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new("/proc/self/exe")
        .arg("hold")
        .arg(name)
        .arg("--control")
        .arg(control)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start a process that holds the sessions")?;
    let sent = send(&ours, sessions.files());
    let mut answer = Vec::new();
    // The other process closes its end, at the latest when it ends.
    let read = sent.and_then(|()| Ok((&ours).read_to_end(&mut answer)?));
    if read.is_ok() && answer == HOLDS {
        return Ok(());
    }
    drop(ours);
    child.wait()?;
    read?;
    bail!("the process that should hold the sessions has ended");
}

/// The process that holds the sessions, which come over standard input.
pub fn hold(control: &Path) -> Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut parent = UnixStream::from(stdin);
    let sessions = Arrived::of(receive(&parent)?)?;
    let socket = Socket::listen(control)?;
    // Both descriptors of the parent's socket must close.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    parent.write_all(HOLDS)?;
    drop(parent);
    serve(socket, sessions.files());
    Ok(())
}

/// Serves clients until one has the sessions in use.
fn serve(socket: Socket, sessions: [BorrowedFd<'_>; 2]) {
    loop {
        let mut client = socket.next();
        if answer(&mut client, sessions).unwrap_or(false) {
            // The client may listen there as soon as it knows that this process is gone.
            drop(socket);
            return;
        }
    }
}

/// Serves one client. Returns whether it has the sessions in use.
fn answer(client: &mut UnixStream, sessions: [BorrowedFd<'_>; 2]) -> Result<bool> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; TAKE.len()];
    client.read_exact(&mut request)?;
    if request != *TAKE {
        client.write_all(b"error a suspended guest waits here to be resumed\n")?;
        return Ok(false);
    }
    client.write_all(b"ok here\n")?;
    send(client, sessions)?;
    // The client lets the guest run before it answers, or ends. Until then, nobody else gets
    // the sessions.
    client.set_read_timeout(None)?;
    let mut done = [0; DONE.len()];
    client.read_exact(&mut done)?;
    Ok(done == *DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn other_files_are_not_taken_for_sessions() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, [null().as_fd(), null().as_fd()]).unwrap();
        assert!(Arrived::of(receive(&theirs).unwrap()).is_err());
        (&ours).write_all(SESSIONS).unwrap();
        let error = receive(&theirs).unwrap_err();
        assert!(error.to_string().contains("holds no sessions"), "{error}");
        drop(ours);
        assert!(receive(&theirs).is_err());
    }

    #[test]
    fn sessions_are_held_until_they_are_in_use() {
        let path = std::env::temp_dir().join(format!("vmm-hold-{}", std::process::id()));
        let socket = Socket::listen(&path).unwrap();
        let (ram, state) = (null(), null());
        let holder = std::thread::spawn(move || serve(socket, [ram.as_fd(), state.as_fd()]));
        let client = || UnixStream::connect(&path).unwrap();
        let take = || {
            let mut client = client();
            ask_again(&mut client, "take").unwrap();
            receive(&client).unwrap();
            client
        };
        assert!(ask_again(&mut client(), "status").is_err());
        drop(client());
        // One that ends before the guest runs, and one that answers something else.
        drop(take());
        take().write_all(b"gone\n").unwrap();
        assert!(path.exists());
        Held(take()).done().unwrap();
        holder.join().unwrap();
        assert!(!path.exists());
    }
}
