// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A thread that is the kernel: its device has one opener, its sessions live as long as somebody
//! has them, and a kexec turns outgoing sessions into incoming ones.

use liveupdate::agent::protocol;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Files = BTreeMap<String, OwnedFd>;

struct Session {
    name: String,
    outgoing: bool,
    finished: bool,
    files: Files,
    socket: OwnedFd,
}

struct State {
    listener: OwnedFd,
    control: UnixDatagram,
    device: Option<OwnedFd>,
    sessions: Vec<Session>,
    /// What the previous kernel has left and nobody has retrieved.
    pending: BTreeMap<String, Files>,
    /// Incoming sessions that were closed and not finished.
    lost: Vec<String>,
}

/// The kernel, as a test sees it.
pub struct Kernel {
    control: UnixDatagram,
    thread: Option<JoinHandle<()>>,
}

impl Kernel {
    pub fn boot(path: &Path) -> Self {
        let (control, its) = UnixDatagram::pair().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
        rustix::net::listen(&listener, 4).unwrap();
        let state = State {
            listener,
            control: its,
            device: None,
            sessions: Vec::new(),
            pending: BTreeMap::new(),
            lost: Vec::new(),
        };
        let thread = Some(std::thread::spawn(move || state.run()));
        Self { control, thread }
    }

    fn order(&self, order: &str) -> String {
        self.control.send(order.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let len = self.control.recv(&mut answer).unwrap();
        String::from_utf8_lossy(answer.get(..len).unwrap()).into_owned()
    }

    /// Enters the next kernel: every file descriptor of a program is dead.
    pub fn kexec(&self) {
        assert_eq!(self.order("kexec"), "done");
    }

    /// The names of all sessions that somebody has, with a sign for their direction.
    pub fn alive(&self) -> String {
        self.order("alive")
    }

    /// Waits until these are the sessions that somebody has. A program that another test starts
    /// has copies of all file descriptors for a moment, so that a session can end late.
    pub fn wait_for_alive(&self, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.alive() != expected {
            assert!(
                Instant::now() < deadline,
                "{:?}, not {expected:?}",
                self.alive()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The names of incoming sessions that were closed and not finished.
    pub fn lost(&self) -> String {
        self.order("lost")
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.control.send(b"end");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ready(fd: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)) == Ok(1)
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// A program that dies takes no answer.
fn answer(socket: &OwnedFd, text: &str, file: Option<&OwnedFd>) {
    let file = file.map(AsFd::as_fd);
    let _ = protocol::send(socket, text.as_bytes(), file, SendFlags::empty());
}

/// The next message; nothing if the other end is closed.
fn message(socket: &OwnedFd) -> Option<(String, Option<OwnedFd>)> {
    match protocol::receive(socket, RecvFlags::empty()) {
        Ok((bytes, fd)) if !bytes.is_empty() => {
            Some((String::from_utf8_lossy(&bytes).into_owned(), fd))
        }
        _ => None,
    }
}

impl State {
    fn run(mut self) {
        loop {
            {
                let mut fds = vec![
                    PollFd::new(&self.control, PollFlags::IN),
                    PollFd::new(&self.listener, PollFlags::IN),
                ];
                fds.extend(self.device.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
                let sessions = self.sessions.iter();
                fds.extend(sessions.map(|it| PollFd::new(&it.socket, PollFlags::IN)));
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => (),
                    Err(errno) => panic!("{errno}"),
                }
            }
            // Ends of sessions come first: an order looks at what is left.
            self.serve_sessions();
            self.serve_device();
            if ready(&self.listener) {
                self.accept();
            }
            let mut order = [0; 64];
            self.control.set_nonblocking(true).unwrap();
            if let Ok(len) = self.control.recv(&mut order) {
                // What was closed before the order was given counts.
                self.serve_sessions();
                self.serve_device();
                let text = match order.get(..len).unwrap() {
                    b"kexec" => {
                        self.kexec();
                        "done".to_owned()
                    }
                    b"alive" => self.alive(),
                    b"lost" => self.lost.join(" "),
                    _ => return,
                };
                self.control.send(text.as_bytes()).unwrap();
            }
        }
    }

    fn alive(&self) -> String {
        let mut names: Vec<String> = self
            .sessions
            .iter()
            .map(|it| format!("{}{}", if it.outgoing { '>' } else { '<' }, it.name))
            .collect();
        names.sort();
        names.join(" ")
    }

    fn kexec(&mut self) {
        self.device = None;
        self.pending = self
            .sessions
            .drain(..)
            .filter(|session| session.outgoing)
            .map(|session| (session.name, session.files))
            .collect();
        self.lost.clear();
    }

    fn accept(&mut self) {
        let socket = rustix::net::accept(&self.listener).unwrap();
        match message(&socket) {
            Some((text, _)) if text == "open" && self.device.is_none() => {
                answer(&socket, "0", None);
                self.device = Some(socket);
            }
            _ => answer(&socket, "16", None),
        }
    }

    fn serve_device(&mut self) {
        let Some(device) = self.device.take_if(|device| ready(device)) else {
            return;
        };
        let Some((text, _)) = message(&device) else {
            return;
        };
        let (verb, name) = text.split_once(' ').unwrap();
        let outgoing = verb == "create";
        let taken = |it: &Session| it.name == name && it.outgoing == outgoing;
        let files = match verb {
            "create" if self.sessions.iter().any(taken) => Err("17"),
            "create" => Ok(Files::new()),
            _ if self.sessions.iter().any(taken) => Err("22"),
            _ => self.pending.remove(name).ok_or("2"),
        };
        match files {
            Ok(files) => {
                let (socket, theirs) = pair();
                answer(&device, "0", Some(&theirs));
                self.sessions.push(Session {
                    name: name.to_owned(),
                    outgoing,
                    finished: false,
                    files,
                    socket,
                });
            }
            Err(errno) => answer(&device, errno, None),
        }
        self.device = Some(device);
    }

    fn serve_sessions(&mut self) {
        let lost = &mut self.lost;
        self.sessions.retain_mut(|session| {
            while ready(&session.socket) {
                let Some((text, file)) = message(&session.socket) else {
                    if !session.outgoing && !session.finished {
                        lost.push(session.name.clone());
                    }
                    return false;
                };
                session.obey(&text, file);
            }
            true
        });
    }
}

impl Session {
    fn obey(&mut self, text: &str, file: Option<OwnedFd>) {
        let (verb, token) = text.split_once(' ').unwrap_or((text, ""));
        match (verb, file) {
            ("identify", _) => {
                let direction = if self.outgoing {
                    "outgoing"
                } else {
                    "incoming"
                };
                answer(&self.socket, &format!("0 {direction} {}", self.name), None);
            }
            ("preserve", Some(file)) if self.outgoing => {
                self.files.insert(token.to_owned(), file);
                answer(&self.socket, "0", None);
            }
            ("file", _) if !self.outgoing && !self.finished => match self.files.get(token) {
                Some(file) => answer(&self.socket, "0", Some(file)),
                None => answer(&self.socket, "2", None),
            },
            ("finish", _) if !self.outgoing && !self.finished => {
                self.finished = true;
                answer(&self.socket, "0", None);
            }
            _ => answer(&self.socket, "22", None),
        }
    }
}
