// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A service manager for the tests of `lud`: it starts the agent with a socket, keeps its file
//! descriptors, and starts it again whenever it ends. SIGTERM ends both.
//!
//! `lud-supervisor DIRECTORY COMMAND...` puts the socket for programs into
//! `DIRECTORY/lud.sock`, and its own into `DIRECTORY/notify`. What happens is a line on standard
//! output: `started PID`, `ready`, `stored NAME`, `removed NAME`, `ended`.

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::{
    getpid, kill_process, pidfd_open, set_child_subreaper, waitpid, Pid, PidfdFlags, Signal,
    WaitOptions,
};
use signal_hook::consts::SIGTERM;
use std::error::Error;
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The number of the first file descriptor that is passed.
const FIRST: i32 = 3;
/// The largest number of file descriptors that are passed.
const SLOTS: usize = 96;
/// How often the agent may end before it was ready.
const ATTEMPTS: u32 = 10;

/// The numbers from [`FIRST`] on, which this program keeps for what it passes.
struct Slots(Vec<OwnedFd>);

impl Slots {
    /// Takes them. Fails if one of them is in use.
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut slots = Vec::new();
        for number in (FIRST..).take(SLOTS) {
            let fd = OwnedFd::from(File::open("/dev/null")?);
            if fd.as_raw_fd() != number {
                return Err(format!("file descriptor {number} is in use").into());
            }
            slots.push(fd);
        }
        Ok(Self(slots))
    }

    /// Puts these files there, for a child that is started now.
    fn fill(&mut self, files: &[&OwnedFd]) -> Result<(), Box<dyn Error>> {
        if files.len() > self.0.len() {
            return Err("too many files to pass".into());
        }
        for (slot, file) in self.0.iter_mut().zip(files) {
            rustix::io::dup2(file, slot)?;
        }
        Ok(())
    }

    /// Closes them here again, so that only the store has them.
    fn empty(&mut self) -> Result<(), Box<dyn Error>> {
        let null = File::open("/dev/null")?;
        for slot in &mut self.0 {
            rustix::io::dup3(&null, slot, rustix::io::DupFlags::CLOEXEC)?;
        }
        Ok(())
    }
}

fn socket(path: &Path, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    let _ = rustix::fs::unlink(path);
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
    Ok(socket)
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

struct Supervisor {
    slots: Slots,
    directory: PathBuf,
    command: Vec<String>,
    listener: OwnedFd,
    notify: OwnedFd,
    store: Vec<(String, OwnedFd)>,
    ready: bool,
}

impl Supervisor {
    fn new(slots: Slots, directory: PathBuf, command: Vec<String>) -> Result<Self, Box<dyn Error>> {
        let listener = socket(&directory.join("lud.sock"), SocketType::SEQPACKET)?;
        rustix::net::listen(&listener, 64)?;
        Ok(Self {
            slots,
            notify: socket(&directory.join("notify"), SocketType::DGRAM)?,
            directory,
            command,
            listener,
            store: Vec::new(),
            ready: false,
        })
    }

    fn start(&mut self) -> Result<Child, Box<dyn Error>> {
        let mut files = vec![&self.listener];
        files.extend(self.store.iter().map(|(_, fd)| fd));
        let mut names = vec!["listen"];
        names.extend(self.store.iter().map(|(name, _)| name.as_str()));
        self.slots.fill(&files)?;
        // The child's number must be in its environment, so a shell puts it there.
        let child = Command::new("sh")
            .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
            .args(&self.command)
            .env("LISTEN_FDS", files.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", self.directory.join("notify"))
            .stdin(Stdio::null())
            .spawn()?;
        self.slots.empty()?;
        self.ready = false;
        say(&format!("started {}", child.id()));
        Ok(child)
    }

    /// Reads all messages that are there.
    fn read(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            let mut text = vec![0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                &self.notify,
                &mut [IoSliceMut::new(&mut text)],
                &mut control,
                RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
            );
            let received = match received {
                Err(Errno::AGAIN) => return Ok(()),
                other => other?,
            };
            let mut fds = Vec::new();
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(more) = part {
                    fds.extend(more);
                }
            }
            text.truncate(received.bytes);
            self.obey(&String::from_utf8_lossy(&text), fds);
        }
    }

    /// Does what a message says. A file descriptor that is not stored is closed; for a barrier
    /// that is all.
    fn obey(&mut self, text: &str, fds: Vec<OwnedFd>) {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let name = value("FDNAME").unwrap_or("stored").to_owned();
        if value("FDSTOREREMOVE") == Some("1") {
            self.store.retain(|(it, _)| *it != name);
            say(&format!("removed {name}"));
        } else if value("FDSTORE") == Some("1") {
            say(&format!("stored {name}"));
            self.store
                .extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        }
        if value("READY") == Some("1") {
            self.ready = true;
            say("ready");
        }
    }

    /// Waits until all processes of the agent have ended, as systemd does before it starts a
    /// service again. A child of the agent may wait for an answer meanwhile.
    fn wait_for_all(&mut self) -> Result<(), Box<dyn Error>> {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        loop {
            self.read()?;
            match waitpid(None, WaitOptions::NOHANG) {
                Err(Errno::CHILD) => return Ok(()),
                Ok(Some(_)) | Err(Errno::INTR) => (),
                Ok(None) => {
                    let mut fds = [PollFd::new(&self.notify, PollFlags::IN)];
                    let _ = poll(&mut fds, Some(&moment));
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        // Children of an agent that has ended become ours.
        set_child_subreaper(Some(getpid()))?;
        let (signals, writer) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGTERM, writer)?;
        let mut failures = 0;
        loop {
            let mut child = self.start()?;
            let pid = Pid::from_child(&child);
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            let end = loop {
                let mut fds = [
                    PollFd::new(&self.notify, PollFlags::IN),
                    PollFd::new(&pidfd, PollFlags::IN),
                    PollFd::new(&signals, PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Ok(_) => (),
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                }
                let [_, ended, signalled] = fds.map(|fd| !fd.revents().is_empty());
                self.read()?;
                if signalled {
                    let _ = kill_process(pid, Signal::TERM);
                    child.wait()?;
                    break true;
                }
                if ended {
                    child.wait()?;
                    break false;
                }
            };
            self.wait_for_all()?;
            say("ended");
            if end {
                return Ok(());
            }
            failures = if self.ready { 0 } else { failures + 1 };
            if failures == ATTEMPTS {
                return Err("the agent does not become ready".into());
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // First of all, as long as the numbers are free.
    let slots = Slots::new()?;
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("no directory")?;
    let command: Vec<String> = arguments.collect();
    Supervisor::new(slots, directory.into(), command)?.run()
}
