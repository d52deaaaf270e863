// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sessions that could not be used yet.
//!
//! Closing an incoming session frees what is in it. So when a guest cannot be resumed, for
//! instance because its state needs another version of this program, another process keeps
//! the sessions open at the control socket, for the next try.

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use liveupdate::Rejected;
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::guest::Arrived;
use crate::serve::{ask_again, listen};

const TAKE: &[u8] = b"sessions\n";
const DONE: &[u8] = b"done\n";

fn send(stream: &UnixStream, sessions: &Arrived) -> Result<()> {
    let files = [sessions.ram.as_fd(), sessions.state.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(
        stream,
        &[IoSlice::new(TAKE)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .context("cannot pass the sessions on")?;
    Ok(())
}

fn receive(stream: &UnixStream) -> Result<Arrived> {
    let mut bytes = [0; TAKE.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .context("cannot take the sessions")?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            files.extend(fds);
        }
    }
    let Ok([ram, state]) = <[OwnedFd; 2]>::try_from(files) else {
        bail!("the process at the control socket holds no sessions");
    };
    anyhow::ensure!(bytes.get(..message.bytes) == Some(TAKE), "unknown answer");
    Ok(Arrived {
        ram: ram.try_into().map_err(rejected)?,
        state: state.try_into().map_err(rejected)?,
    })
}

fn rejected(rejected: Rejected<OwnedFd>) -> anyhow::Error {
    rejected.error.into()
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
        let sessions = receive(&stream)?;
        Ok(Some((Self(stream), sessions)))
    }

    /// The sessions are in use, so the other process can end. Waits until it has.
    pub fn done(mut self) -> Result<()> {
        rustix::io::write(&self.0, DONE)?;
        self.0.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

/// Starts a process that holds the sessions.
pub fn start(sessions: &Arrived, name: &str, control: &Path) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    Command::new("/proc/self/exe")
        .arg("hold")
        .arg(name)
        .arg("--control")
        .arg(control)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start a process that holds the sessions")?;
    send(&ours, sessions)?;
    // The other process closes its end when it listens.
    (&ours).read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The process that holds the sessions, which come over standard input.
pub fn hold(control: &Path) -> Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let parent = UnixStream::from(stdin);
    let sessions = receive(&parent)?;
    let listener = listen(control)?;
    listener.set_nonblocking(false)?;
    // Both descriptors of the socket must close.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    drop(parent);
    for client in listener.incoming() {
        let mut client = client?;
        if serve(&mut client, &sessions).unwrap_or(false) {
            // Others can listen as soon as the client knows that this process is gone.
            std::fs::remove_file(control)?;
            return Ok(());
        }
    }
    Ok(())
}

/// Serves one client. Returns whether it has the sessions in use.
fn serve(client: &mut UnixStream, sessions: &Arrived) -> Result<bool> {
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    if request != *b"take\n" {
        rustix::io::write(
            &*client,
            b"error a suspended guest waits here to be resumed\n",
        )?;
        return Ok(false);
    }
    rustix::io::write(&*client, b"ok here\n")?;
    send(client, sessions)?;
    let mut answer = [0; DONE.len()];
    client.read_exact(&mut answer)?;
    Ok(answer == *DONE)
}
