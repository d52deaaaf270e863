// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program that uses the agent `lud`, for the scenario of that name.
//!
//! `lud_client USER COMMAND NAME TEXT` runs as a user of that number, without privileges. A session
//! has one memfd, with the text. The exit status is 0 if everything was as the command says.

use liveupdate::agent::protocol::Direction;
use liveupdate::agent::{Agent, Host};
use liveupdate::memory::Options;
use liveupdate::{Device, Error, IncomingSession, OutgoingSession, Reason, SessionName, Token};
use std::fmt::Write;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const SOCKET: &str = "/run/lud/lud.sock";
const FILE: Token = Token::new(1);

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: lud_client USER COMMAND NAME [TEXT]
commands: create, again, open, peek, take, discard, release, list
          refused COMMAND NAME PART-OF-THE-ERROR
          run PROGRAM ARGUMENT...";

/// Connects to the agent. Fails if this program could open the device instead.
fn agent() -> Result<Agent, Failure> {
    match Host::open_paths(Device::PATH, SOCKET)? {
        Host::Agent(agent) => Ok(agent),
        _ => Err("this program could open the device".into()),
    }
}

fn preserve(session: &OutgoingSession, text: &str) -> Result<(), Failure> {
    let fd = Options::new("text").size(4096).create()?;
    File::from(fd.try_clone()?).write_all_at(text.as_bytes(), 0)?;
    session.preserve(FILE, &fd)?;
    Ok(())
}

fn check(fd: OwnedFd, text: &str) -> Result<(), Failure> {
    let mut content = vec![0; text.len() + 1];
    File::from(fd).read_exact_at(&mut content, 0)?;
    if content == [text.as_bytes(), b"\0"].concat() {
        Ok(())
    } else {
        let found = String::from_utf8_lossy(&content).into_owned();
        Err(format!("expected \"{text}\", found {found:?}").into())
    }
}

fn gone<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(error) if error.reason() == Reason::AgentGone)
}

fn absent<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(error) if error.reason() == Reason::SessionAbsent)
}

/// Creates a session, also if the agent ends meanwhile.
fn create_again(agent: &Agent, name: &SessionName) -> Result<OutgoingSession, Error> {
    let created = agent.create_session(name);
    if !gone(&created) {
        return created;
    }
    let opened = agent.open_session(name);
    if absent(&opened) {
        return agent.create_session(name);
    }
    opened
}

fn retrieve(agent: &Agent, name: &SessionName, text: &str) -> Result<IncomingSession, Failure> {
    let mut session = agent.retrieve_session(name);
    if gone(&session) {
        session = agent.retrieve_session(name);
    }
    let session = session?;
    check(session.retrieve(FILE)?, text)?;
    Ok(session)
}

/// Repeats a call if the agent ended: it may have carried it out before.
fn repeated(call: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    let first = call();
    if !gone(&first) {
        return first;
    }
    let second = call();
    if absent(&second) {
        return Ok(());
    }
    second
}

fn list(agent: &Agent) -> Result<String, Failure> {
    let mut text = String::new();
    for entry in agent.list()? {
        let sign = match entry.direction {
            Direction::Outgoing => '>',
            Direction::Incoming => '<',
        };
        let space = if text.is_empty() { "" } else { " " };
        write!(text, "{space}{sign}{}:{}", entry.name, entry.owner)?;
    }
    Ok(text)
}

fn run(command: &str, name: &str, text: &str) -> Result<(), Failure> {
    let agent = agent()?;
    if command == "list" {
        let found = list(&agent)?;
        return if found == name {
            Ok(())
        } else {
            Err(format!("expected \"{name}\", found \"{found}\"").into())
        };
    }
    let name = SessionName::new(name)?;
    match command {
        "create" => preserve(&agent.create_session(&name)?, text),
        "again" => preserve(&create_again(&agent, &name)?, text),
        "open" => agent.open_session(&name).map(drop).map_err(Failure::from),
        "peek" => retrieve(&agent, &name, text).map(drop),
        "take" => {
            let session = retrieve(&agent, &name, text)?;
            session.finish()?;
            Ok(repeated(|| agent.release(&name))?)
        }
        "discard" => Ok(repeated(|| agent.discard(&name))?),
        "release" => Ok(agent.release(&name)?),
        _ => Err(USAGE.into()),
    }
}

/// Succeeds if the command fails with an error that has that text.
fn refused(command: &str, name: &str, text: &str) -> Result<(), Failure> {
    match run(command, name, "") {
        Ok(()) => Err(format!("{command} {name} was not refused").into()),
        Err(error) if error.to_string().contains(text) => Ok(()),
        Err(error) => Err(format!("expected \"{text}\", found: {error}").into()),
    }
}

/// Becomes a program that runs as that user, without the groups of root.
fn become_user(user: &str, program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let user = user.parse()?;
    let mut command = Command::new(program);
    Err(command.uid(user).gid(user).args(arguments).exec().into())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["as-is", "refused", command, name, text] => refused(command, name, text),
        ["as-is", command, name] => run(command, name, ""),
        ["as-is", command, name, text] => run(command, name, text),
        [user, "run", program, rest @ ..] => become_user(user, program, rest),
        [user, rest @ ..] if !rest.is_empty() => {
            become_user(user, "/proc/self/exe", &[&["as-is"], rest].concat())
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("# lud_client {}: {failure}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}
