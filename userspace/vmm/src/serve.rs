// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The main thread of a running guest: requests on the control socket, input for the console,
//! and the end of the guest.
//!
//! A request is one line, and so is its answer:
//!
//! | request | answer |
//! |---|---|
//! | `status` | `ok running` or `ok suspended`, and figures |
//! | `suspend` | `ok` after everything is preserved, or `error` and why the guest runs on |
//! | `continue` | `ok` when the guest runs again |
//!
//! One client is served at a time, so one that asks for nothing is closed after a while.
//!
//! A guest is suspended for as long as the client that asked for it is connected. If that
//! client ends, because the kexec was refused or because it was killed, the guest goes on.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::retry_on_intr;

use crate::guest::Guest;
use crate::virtio::console::{Line, RECEIVE};
use crate::virtio::Kind;

const MAX_REQUEST: usize = 64;

/// How long to wait before another try to accept a client.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take for a request, while others wait for it to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether the guest has taken input, so that more can be read.
const INPUT_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// How often to look whether the client has used up its time.
const CLIENT_PAUSE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// A socket that this program listens at. Dropping it removes its file.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. A socket that a killed program left there is replaced.
    pub fn listen(path: &Path) -> Result<Self> {
        let socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        let refuses = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if socket && UnixStream::connect(path).is_err_and(refuses) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        let path = path.to_path_buf();
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Gives the socket another path.
    pub fn rename(&mut self, path: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.path = path.to_path_buf();
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a client, if one waits. If that fails, because of too many open files perhaps, the
    /// client is tried again later: a guest must not end because of it.
    pub fn accept(&self) -> Option<UnixStream> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) => {
                if error.kind() != ErrorKind::WouldBlock {
                    tracing::warn!("cannot accept a client: {error}");
                    std::thread::sleep(PAUSE);
                }
                None
            }
        }
    }

    /// Waits for a client.
    pub fn next(&self) -> UnixStream {
        loop {
            if let Some(client) = self.accept() {
                return client;
            }
            // If this fails, the next try to accept a client tells.
            let _ = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], None);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

struct Client {
    stream: UnixStream,
    request: Vec<u8>,
    /// Whether this client has suspended the guest.
    suspender: bool,
    /// When it connected, or made its last request.
    since: Instant,
}

/// What the main thread waits for.
pub struct Server {
    control: Socket,
    console: Option<(Socket, Line)>,
    client: Option<Client>,
    talking: Option<UnixStream>,
}

impl Server {
    pub fn new(control: Socket, console: Option<(Socket, Line)>) -> Self {
        Self {
            control,
            console,
            client: None,
            talking: None,
        }
    }

    /// Serves until the guest has ended, and returns why it has.
    pub fn run(mut self, guest: &mut Guest) -> Result<String> {
        loop {
            self.wait(guest)?;
            if let Some(why) = guest.machine.why_ended() {
                return Ok(why);
            }
            self.control(guest);
            self.console(guest);
        }
    }

    fn wait(&self, guest: &Guest) -> Result<()> {
        let readable = PollFlags::IN;
        let mut files = vec![PollFd::new(guest.machine.ended(), readable)];
        match &self.client {
            Some(client) => files.push(PollFd::new(&client.stream, readable)),
            None => files.push(PollFd::new(&self.control.listener, readable)),
        }
        let mut timeout = None;
        if self
            .client
            .as_ref()
            .is_some_and(|client| !client.may_wait(guest))
        {
            timeout = Some(&CLIENT_PAUSE);
        }
        if let Some((socket, line)) = &self.console {
            files.push(PollFd::new(&socket.listener, readable));
            if let Some(stream) = self.talking.as_ref().filter(|_| !guest.is_suspended()) {
                if line.free() > 0 {
                    files.push(PollFd::new(stream, readable));
                } else {
                    // A vCPU's thread makes space, and does not wake this one.
                    timeout = Some(&INPUT_PAUSE);
                }
            }
        }
        retry_on_intr(|| poll(&mut files, timeout))
            .map(drop)
            .context("cannot wait for requests")
    }

    /// Takes a client, or its request. One client is served at a time.
    fn control(&mut self, guest: &mut Guest) {
        if self.client.is_none() {
            self.client = self.control.accept().and_then(Client::new);
        }
        let Some(client) = &mut self.client else {
            return;
        };
        let mut bytes = [0; MAX_REQUEST];
        let gone = match client.stream.read(&mut bytes) {
            Ok(0) => true,
            Ok(count) => {
                client.request.extend(bytes.iter().take(count));
                client.answer(guest).is_err()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                !client.may_wait(guest) && client.since.elapsed() > PATIENCE
            }
            Err(_) => true,
        };
        if gone {
            if client.suspender && guest.is_suspended() {
                tracing::warn!(
                    "the client that suspended the guest has gone, so the guest goes on"
                );
                if let Err(error) = guest.go_on() {
                    tracing::error!("{error:#}");
                }
            }
            self.client = None;
        }
    }

    fn console(&mut self, guest: &Guest) {
        let Some((socket, line)) = &self.console else {
            return;
        };
        if let Some(stream) = socket.accept() {
            let copy = stream
                .set_nonblocking(true)
                .and_then(|()| stream.try_clone());
            match copy {
                Ok(copy) => {
                    self.talking = Some(copy);
                    line.connect(stream);
                }
                Err(error) => tracing::warn!("cannot connect the console: {error}"),
            }
        }
        // While the guest is suspended, input stays in the socket.
        if self.talking.is_some() && !guest.is_suspended() {
            if !line.receive() {
                self.talking = None;
            }
            for mut device in guest.machine.bus().virtio() {
                if device.kind() == Kind::Console {
                    device.notify(RECEIVE);
                }
            }
        }
    }
}

impl Client {
    fn new(stream: UnixStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        Some(Self {
            stream,
            request: Vec::new(),
            suspender: false,
            since: Instant::now(),
        })
    }

    /// Whether the client need not make a request soon: the guest is suspended for it.
    fn may_wait(&self, guest: &Guest) -> bool {
        self.suspender && guest.is_suspended()
    }

    /// Answers all complete requests. Fails if the client cannot be served any more.
    fn answer(&mut self, guest: &mut Guest) -> Result<()> {
        while let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.request.drain(..=end).collect();
            self.since = Instant::now();
            let answer = match line.trim_ascii() {
                b"status" => Ok(status(guest)),
                b"suspend" => guest.suspend().map(|times| {
                    self.suspender = true;
                    times.to_string()
                }),
                b"continue" => guest.go_on().map(|()| "the guest runs".to_string()),
                _ => Err(anyhow::anyhow!("unknown request")),
            };
            let answer = match answer {
                Ok(text) => format!("ok {text}\n"),
                Err(error) => format!("error {error:#}\n"),
            };
            self.stream.write_all(answer.as_bytes())?;
        }
        anyhow::ensure!(self.request.len() < MAX_REQUEST, "the request is too long");
        Ok(())
    }
}

fn status(guest: &Guest) -> String {
    let state = if guest.is_suspended() {
        "suspended"
    } else {
        "running"
    };
    format!(
        "{state} guest={} vcpus={} ram={} suspends={}",
        guest.name,
        guest.machine.vcpu_count(),
        guest.machine.ram().bytes(),
        guest.suspends()
    )
}

/// Sends one request to the program at `path`, and returns the connection and the answer.
pub fn ask(path: &Path, request: &str) -> Result<(UnixStream, String)> {
    let mut stream = UnixStream::connect(path)
        .with_context(|| format!("no guest listens at {}", path.display()))?;
    let answer = ask_again(&mut stream, request)?;
    Ok((stream, answer))
}

/// Sends another request over the same connection.
pub fn ask_again(stream: &mut UnixStream, request: &str) -> Result<String> {
    writeln!(stream, "{request}")?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream
            .read_exact(&mut byte)
            .context("the connection ended without an answer")?;
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(answer.trim_ascii_end()).into_owned();
    match answer.split_once(' ') {
        Some(("ok", text)) => Ok(text.to_string()),
        Some(("error", why)) => anyhow::bail!("{why}"),
        _ => anyhow::bail!("the answer was \"{answer}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_goes_with_its_program() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("vmm-socket-{}", std::process::id()));
        let other = path.with_extension("other");
        let mut socket = Socket::listen(&path).unwrap();
        // It is in use, so nobody else takes it.
        assert!(Socket::listen(&path).is_err());
        let mut client = UnixStream::connect(&path).unwrap();
        // The first client is the program that tried to listen.
        drop(socket.next());
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        socket.next().read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        assert!(socket.accept().is_none());

        socket.rename(&other).unwrap();
        assert!(!path.exists() && socket.path() == other);
        // That of a killed program is replaced.
        let left = UnixListener::bind(&path).unwrap();
        drop(left);
        drop(Socket::listen(&path).unwrap());
        assert!(!path.exists());
        // A file of another kind is not.
        std::fs::write(&path, "").unwrap();
        assert!(Socket::listen(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        drop(socket);
        assert!(!other.exists());
    }
}
