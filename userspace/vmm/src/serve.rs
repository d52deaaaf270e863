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
//! A guest is suspended for as long as the client that asked for it is connected. If that
//! client ends, because the kexec was refused or because it was killed, the guest goes on.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags};

use crate::guest::Guest;
use crate::virtio::console::{Line, RECEIVE};
use crate::virtio::Kind;

const MAX_REQUEST: usize = 64;

/// Listens at `path`. A socket that a killed program left there is replaced.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if stale && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Client {
    stream: UnixStream,
    request: Vec<u8>,
    /// Whether this client has suspended the guest.
    suspender: bool,
}

/// What the main thread waits for.
pub struct Server {
    control: UnixListener,
    console: Option<(UnixListener, Line)>,
    client: Option<Client>,
    talking: Option<UnixStream>,
}

impl Server {
    pub fn new(control: UnixListener, console: Option<(UnixListener, Line)>) -> Self {
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
            self.control(guest)?;
            self.console(guest)?;
        }
    }

    fn wait(&self, guest: &Guest) -> Result<()> {
        let readable = PollFlags::IN;
        let mut files = vec![PollFd::new(guest.machine.ended(), readable)];
        match &self.client {
            Some(client) => files.push(PollFd::new(&client.stream, readable)),
            None => files.push(PollFd::new(&self.control, readable)),
        }
        if let Some((listener, line)) = &self.console {
            files.push(PollFd::new(listener, readable));
            if line.free() > 0 && !guest.is_suspended() {
                files.extend(
                    self.talking
                        .iter()
                        .map(|stream| PollFd::new(stream, readable)),
                );
            }
        }
        loop {
            match poll(&mut files, None) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map(drop).context("cannot wait for requests"),
            }
        }
    }

    /// Takes a client, or its request. One client is served at a time.
    fn control(&mut self, guest: &mut Guest) -> Result<()> {
        if self.client.is_none() {
            match self.control.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    self.client = Some(Client {
                        stream,
                        request: Vec::new(),
                        suspender: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    // Too many open files, perhaps. The guest must not end because of it.
                    tracing::warn!("cannot accept a client: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                    return Ok(());
                }
            }
        }
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        let mut bytes = [0; MAX_REQUEST];
        let gone = match client.stream.read(&mut bytes) {
            Ok(0) => true,
            Ok(count) => {
                client.request.extend(bytes.iter().take(count));
                client.answer(guest).is_err()
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
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
        Ok(())
    }

    fn console(&mut self, guest: &Guest) -> Result<()> {
        let Some((listener, line)) = &self.console else {
            return Ok(());
        };
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            self.talking = Some(stream.try_clone()?);
            line.connect(stream);
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
        Ok(())
    }
}

impl Client {
    /// Answers all complete requests. Fails if the client cannot be served any more.
    fn answer(&mut self, guest: &mut Guest) -> Result<()> {
        while let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.request.drain(..=end).collect();
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
