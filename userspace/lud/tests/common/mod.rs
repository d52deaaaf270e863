// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A machine of the tests: a kernel, a service manager, the agent, and programs.

pub mod kernel;

use kernel::Kernel;
use liveupdate::agent::protocol::{
    self, Answer, Cause, Command as Order, Direction, Entry, Reply, Request,
};
use liveupdate::SessionName;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{kill_process, Pid, Signal};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A service manager with its agent.
struct Running {
    supervisor: Child,
    lines: BufReader<ChildStdout>,
}

pub struct Machine {
    pub directory: TempDir,
    pub kernel: Kernel,
    running: Option<Running>,
    /// How many file descriptors the service manager says it stores.
    pub capacity: usize,
}

/// The agent ended before it answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Died;

pub fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

/// The user that the test runs as.
pub fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

impl Machine {
    /// Boots with a policy that allows this user everything.
    pub fn boot() -> Self {
        let allow = r#"allow = ["create", "retrieve", "discard", "list"]"#;
        Self::boot_with(&format!("[[rule]]\nuser = {}\n{allow}\n", uid()))
    }

    pub fn boot_with(policy: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let kernel = Kernel::boot(&directory.path().join("kernel"));
        let mut machine = Self {
            directory,
            kernel,
            running: None,
            capacity: 4096,
        };
        machine.policy(policy);
        machine.start();
        machine
    }

    pub fn policy(&self, policy: &str) {
        fs::write(self.directory.path().join("policy"), policy).unwrap();
    }

    /// Starts the service manager, and waits until the agent is ready.
    pub fn start(&mut self) {
        let directory = self.directory.path();
        // A test may have been started with files that a service manager would not have.
        let close = "for fd in /proc/$$/fd/*; do \
                     [ ${fd##*/} -le 2 ] || eval \"exec ${fd##*/}>&-\"; done; exec \"$@\"";
        let mut supervisor = Command::new("bash")
            .args(["-c", close, "bash", env!("CARGO_BIN_EXE_lud-supervisor")])
            .arg(directory)
            .arg(env!("CARGO_BIN_EXE_lud"))
            .args(["-v", "--policy"])
            .arg(directory.join("policy"))
            .env("LUD_TEST_DEVICE", directory.join("kernel"))
            .env("LUD_TEST_DIE", directory.join("die"))
            .env("FDSTORE", self.capacity.to_string())
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log())
            .spawn()
            .unwrap();
        let lines = BufReader::new(supervisor.stdout.take().unwrap());
        self.running = Some(Running { supervisor, lines });
        self.wait_for("ready");
    }

    /// What the agent logs.
    fn log(&self) -> fs::File {
        let mut options = fs::OpenOptions::new();
        let path = self.directory.path().join("log");
        options.create(true).append(true).open(path).unwrap()
    }

    /// Reads what the service manager says until a line begins so, and returns the rest of it.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let running = self.running.as_mut().unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            let len = running.lines.read_line(&mut line).unwrap();
            if len == 0 {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
                panic!("the service manager ended before \"{beginning}\":\n{log}");
            }
            if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Ends agent and service manager; what is stored is closed.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = kill_process(Pid::from_child(&running.supervisor), Signal::TERM);
            running.supervisor.wait().unwrap();
        }
    }

    /// Enters the next kernel, which starts everything anew.
    pub fn kexec(&mut self) {
        self.kernel.kexec();
        self.stop();
        self.start();
    }

    /// Sends the agent a signal.
    pub fn signal(&mut self, signal: Signal) {
        let status = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let parent = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent: u32 = parent.rsplit(')').next()?.split(' ').nth(2)?.parse().ok()?;
            (parent == self.running.as_ref()?.supervisor.id()).then_some(pid)
        });
        for pid in status {
            kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        }
    }

    /// Lets the agent die at a point, once.
    pub fn die_at(&self, point: &str) {
        let directory = self.directory.path();
        fs::write(directory.join("die.new"), point).unwrap();
        fs::rename(directory.join("die.new"), directory.join("die")).unwrap();
    }

    /// Fails unless the agent has come to the point.
    pub fn has_died(&self, point: &str) {
        let armed = self.directory.path().join("die").exists();
        assert!(!armed, "the agent has not come to {point}");
    }

    pub fn connect(&self) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        let path = self.directory.path().join("lud.sock");
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        socket
    }

    /// Asks the agent.
    pub fn ask(&self, order: Order) -> Result<(Answer, Option<OwnedFd>), Died> {
        exchange(&self.connect(), order)
    }

    pub fn create(&self, text: &str) -> Result<Option<OwnedFd>, Died> {
        Ok(session(self.ask(Order::Create { name: name(text) })?))
    }

    pub fn open(&self, text: &str) -> Result<Option<OwnedFd>, Died> {
        Ok(session(self.ask(Order::Open { name: name(text) })?))
    }

    pub fn retrieve(&self, text: &str) -> Result<Option<OwnedFd>, Died> {
        Ok(session(self.ask(Order::Retrieve { name: name(text) })?))
    }

    /// Whether it was discarded; the agent may die.
    pub fn discard(&self, text: &str) -> Result<bool, Died> {
        let (answer, _) = self.ask(Order::Discard { name: name(text) })?;
        Ok(answer == Answer::Done)
    }

    pub fn release(&self, text: &str) -> Result<bool, Died> {
        let (answer, _) = self.ask(Order::Release { name: name(text) })?;
        Ok(answer == Answer::Done)
    }

    pub fn list(&self) -> Vec<Entry> {
        match self.ask(Order::List { after: None }) {
            Ok((
                Answer::Sessions {
                    sessions,
                    more: false,
                },
                None,
            )) => sessions,
            other => panic!("{other:?}"),
        }
    }

    /// The names of the sessions that the agent lists for this user, with a sign for their
    /// direction.
    pub fn listed(&self) -> String {
        let sign = |entry: &Entry| match entry.direction {
            Direction::Outgoing => '>',
            Direction::Incoming => '<',
        };
        let list = self.list();
        for entry in &list {
            assert_eq!(entry.owner, uid(), "{entry:?}");
        }
        let names: Vec<String> = list
            .iter()
            .map(|entry| format!("{}{}", sign(entry), entry.name))
            .collect();
        names.join(" ")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a request on a connection, and waits for its answer.
pub fn exchange(socket: &OwnedFd, order: Order) -> Result<(Answer, Option<OwnedFd>), Died> {
    let request = protocol::encode(&Request::new(order)).unwrap();
    protocol::send(socket, &request, None, SendFlags::empty()).map_err(|_| Died)?;
    match protocol::receive(socket, RecvFlags::empty()) {
        Ok((bytes, _)) if bytes.is_empty() => Err(Died),
        Err(_) => Err(Died),
        Ok((bytes, fd)) => Ok((protocol::decode::<Reply>(&bytes).unwrap().answer, fd)),
    }
}

fn session(answer: (Answer, Option<OwnedFd>)) -> Option<OwnedFd> {
    match answer {
        (Answer::Session, Some(fd)) => Some(fd),
        (Answer::Refused(_), None) => None,
        other => panic!("{other:?}"),
    }
}

/// What kind of refusal an answer is.
pub fn cause(answer: Result<(Answer, Option<OwnedFd>), Died>) -> (Cause, i32) {
    match answer {
        Ok((Answer::Refused(refusal), None)) => (refusal.cause, refusal.errno),
        other => panic!("{other:?}"),
    }
}
