// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `lu status`, `ls`, `show` and `handlers`: what they print, as types of which JSON is made.
//!
//! The names of the fields are an interface of the command. README.md lists them.

use crate::lists::{Direction, Flb, Handler, Session, State};
use crate::pieces;
use crate::process::{self, File, Holder, Holders, Process};
use crate::root::Root;
use crate::size;
use crate::source::{Orchestrator, Source, Unavailable};
use crate::word::Word;
use serde::Serialize;
use std::fmt::{self, Write};

/// A session with what `/proc` says of it.
#[derive(Debug, Serialize)]
pub struct SessionReport {
    name: Word,
    direction: Direction,
    state: State,
    owner: Option<u32>,
    files: Option<u64>,
    pages: Option<u64>,
    bytes: Option<u64>,
    pieces: Option<u64>,
    age: Option<u64>,
    creator: Option<Creator>,
    holders: Vec<Holder>,
}

/// The process that created or retrieved a session.
#[derive(Debug, Serialize)]
struct Creator {
    #[serde(flatten)]
    process: Process,
    /// Whether it is still there.
    alive: bool,
}

impl Creator {
    fn find(root: &Root, pid: u32, command: Option<&Word>) -> Self {
        match Process::find(root, pid) {
            // The number may have been given to another process.
            Some(process) if process.command.as_ref() == command => Self {
                process,
                alive: true,
            },
            _ => Self {
                process: Process {
                    pid,
                    command: command.cloned(),
                    unit: None,
                },
                alive: false,
            },
        }
    }
}

impl SessionReport {
    fn new(root: &Root, session: Session, holders: &Holders) -> Self {
        let holders = holders
            .get(&session.name)
            .into_iter()
            .flatten()
            .filter(|holder| holder.direction.is_none_or(|it| it == session.direction))
            .cloned()
            .collect();
        let page_size = rustix::param::page_size() as u64;
        Self {
            creator: session
                .pid
                .map(|pid| Creator::find(root, pid, session.comm.as_ref())),
            bytes: session.pages.map(|pages| pages.saturating_mul(page_size)),
            name: session.name,
            direction: session.direction,
            state: session.state,
            owner: session.owner,
            files: session.files,
            pages: session.pages,
            pieces: session.pieces,
            age: session.age,
            holders,
        }
    }

    /// The process to ask about the session: one that holds it, else its creator.
    fn owner(&self) -> [String; 3] {
        let words = |process: &Process, more: String| {
            let command = dash(process.command.as_ref());
            [
                process.pid.to_string(),
                command + &more,
                dash(process.unit.as_ref()),
            ]
        };
        let mut others: Vec<u32> = self
            .holders
            .iter()
            .map(|holder| holder.process.pid)
            .collect();
        others.dedup();
        match (self.holders.first(), &self.creator) {
            (Some(holder), _) if others.len() > 1 => {
                words(&holder.process, format!(" +{}", others.len() - 1))
            }
            (Some(holder), _) => words(&holder.process, String::new()),
            (None, Some(creator)) if creator.alive => words(&creator.process, String::new()),
            (None, Some(creator)) => words(&creator.process, " (gone)".to_owned()),
            (None, None) => ["-", "-", "-"].map(str::to_owned),
        }
    }
}

fn dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `lu ls`.
#[derive(Debug, Serialize)]
pub struct Sessions {
    sessions: Vec<SessionReport>,
}

impl Sessions {
    /// Asks `source` and `/proc`.
    pub fn new(root: &Root, source: &dyn Source) -> Result<Self, Unavailable> {
        let sessions = source.sessions()?;
        let holders = process::holders(root);
        Ok(Self {
            sessions: sessions
                .into_iter()
                .map(|session| SessionReport::new(root, session, &holders))
                .collect(),
        })
    }
}

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sessions.is_empty() {
            return f.write_str("no sessions\n");
        }
        let mut table = Table::new([
            "NAME",
            "DIRECTION",
            "STATE",
            "FILES",
            "SIZE",
            "PIECES",
            "AGE",
            "PID",
            "COMMAND",
            "UNIT",
        ]);
        for session in &self.sessions {
            let [pid, command, unit] = session.owner();
            table.add([
                session.name.to_string(),
                session.direction.word().to_owned(),
                session.state.word().to_owned(),
                dash(session.files),
                dash(session.bytes.map(size::bytes)),
                dash(session.pieces),
                dash(session.age.map(size::seconds)),
                pid,
                command,
                unit,
            ]);
        }
        table.fmt(f)
    }
}

/// `lu show`.
#[derive(Debug, Serialize)]
pub struct Shown {
    sessions: Vec<ShownSession>,
}

/// A session with its files.
#[derive(Debug, Serialize)]
struct ShownSession {
    #[serde(flatten)]
    session: SessionReport,
    /// [`None`] if no process holds the session, or it has too many files for fdinfo.
    tokens: Option<Vec<File>>,
}

impl Shown {
    /// The sessions of that name, of which there can be one in each direction; [`None`] if there
    /// is none. Takes the name as it is printed, or else as it is.
    pub fn new(root: &Root, source: &dyn Source, name: &str) -> Result<Option<Self>, Unavailable> {
        let all = Sessions::new(root, source)?.sessions;
        let is = |session: &SessionReport, name: &Word| session.name == *name;
        let printed = Word::parse(name).ok();
        let found = printed
            .filter(|name| all.iter().any(|session| is(session, name)))
            .unwrap_or_else(|| Word::new(name));
        let sessions: Vec<_> = all
            .into_iter()
            .filter(|session| is(session, &found))
            .map(|session| {
                let files = session.holders.iter().map(|holder| &holder.files);
                let tokens = files.max_by_key(|files| files.len()).cloned();
                ShownSession {
                    tokens: tokens.filter(|files| !files.is_empty() || session.files == Some(0)),
                    session,
                }
            })
            .collect();
        Ok((!sessions.is_empty()).then_some(Self { sessions }))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, number) in self.sessions.iter().zip(0..) {
            if number > 0 {
                f.write_str("\n")?;
            }
            shown.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for ShownSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = &self.session;
        writeln!(
            f,
            "{}  {} {}",
            session.name,
            session.direction.word(),
            session.state.word()
        )?;
        let mut line = |name: &str, value: String| writeln!(f, "  {name:<9}{value}");
        line("files", dash(session.files))?;
        line(
            "size",
            match (session.bytes, session.pages) {
                (Some(bytes), Some(pages)) => {
                    format!("{} in {}", size::bytes(bytes), size::count(pages, "page"))
                }
                _ => "-".to_owned(),
            },
        )?;
        line("pieces", dash(session.pieces))?;
        if let Some(owner) = session.owner {
            line("owner", format!("user {owner}"))?;
        }
        line("age", dash(session.age.map(size::seconds)))?;
        if let Some(creator) = &session.creator {
            let gone = if creator.alive { "" } else { " (gone)" };
            line("creator", described(&creator.process) + gone)?;
        }
        for holder in &session.holders {
            let described = described(&holder.process);
            line("holder", format!("{described}, fd {}", holder.fd))?;
        }
        match &self.tokens {
            Some(files) => {
                for file in files {
                    writeln!(
                        f,
                        "  file     {} {} {}",
                        file.token, file.handler, file.state
                    )?;
                }
                Ok(())
            }
            None if session.holders.is_empty() => {
                writeln!(
                    f,
                    "  its files are not listed: this user sees no process that has it open"
                )
            }
            None => writeln!(f, "  its files are too many to be listed"),
        }
    }
}

fn described(process: &Process) -> String {
    let unit = process.unit.as_ref();
    format!(
        "{} {}{}",
        process.pid,
        dash(process.command.as_ref()),
        unit.map_or_else(String::new, |unit| format!(", {unit}"))
    )
}

/// `lu handlers`.
#[derive(Debug, Serialize)]
pub struct Handlers {
    handlers: Vec<Handler>,
    flbs: Vec<Flb>,
}

impl Handlers {
    /// Asks `source`.
    pub fn new(source: &dyn Source) -> Result<Self, Unavailable> {
        Ok(Self {
            handlers: source.handlers()?,
            flbs: source.flbs()?,
        })
    }
}

impl fmt::Display for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["HANDLER", "MODULE", "FLBS"]);
        for handler in &self.handlers {
            table.add([
                handler.name.to_string(),
                dash(handler.module.as_ref()),
                handler.flbs.to_string(),
            ]);
        }
        table.fmt(f)?;
        if self.flbs.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["FLB", "DIRECTION", "STATE", "FILES", "USERS", "MODULE"]);
        for flb in &self.flbs {
            table.add([
                flb.name.to_string(),
                flb.direction.word().to_owned(),
                flb.state.clone(),
                dash(flb.files),
                dash(flb.users),
                dash(flb.module.as_ref()),
            ]);
        }
        f.write_str("\n")?;
        table.fmt(f)
    }
}

/// `lu status`.
#[derive(Debug, Serialize)]
pub struct Status {
    orchestrator: &'static str,
    image_loaded: Option<bool>,
    outgoing: Option<Outgoing>,
    incoming: Option<Incoming>,
    /// Why the two are not known.
    unavailable: Option<String>,
}

/// What is preserved for the next kernel.
#[derive(Debug, Serialize)]
struct Outgoing {
    sessions: u64,
    files: Option<u64>,
    pages: Option<u64>,
    bytes: Option<u64>,
    pieces: Option<u64>,
    boot_seconds: Option<u64>,
    busy: u64,
}

/// What the previous kernel has left.
#[derive(Debug, Serialize)]
struct Incoming {
    sessions: u64,
    files: Option<u64>,
    unfinished: u64,
    damaged: u64,
}

/// Adds up a value of all sessions, if it is known of each.
fn sum<'a>(
    mut sessions: impl Iterator<Item = &'a Session>,
    value: impl Fn(&Session) -> Option<u64>,
) -> Option<u64> {
    sessions.try_fold(0, |sum: u64, session| {
        Some(sum.saturating_add(value(session)?))
    })
}

impl Status {
    /// Asks `source`, and what every user may see.
    pub fn new(root: &Root, source: &dyn Source) -> (Self, Option<Unavailable>) {
        let mut status = Self {
            orchestrator: Orchestrator::find(root).word(),
            image_loaded: image_loaded(root),
            outgoing: None,
            incoming: None,
            unavailable: None,
        };
        match source.sessions() {
            Ok(sessions) => {
                status.outgoing = Some(Outgoing::new(&sessions));
                status.incoming = Some(Incoming::new(&sessions));
                (status, None)
            }
            Err(why) => {
                status.unavailable = Some(why.to_string());
                (status, Some(why))
            }
        }
    }
}

/// Whether an image for kexec is loaded, if the kernel says so.
pub fn image_loaded(root: &Root) -> Option<bool> {
    match root.read("sys/kernel/kexec_loaded").ok()?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

impl Outgoing {
    fn new(sessions: &[Session]) -> Self {
        let outgoing = || {
            sessions
                .iter()
                .filter(|session| session.direction == Direction::Outgoing)
        };
        let pages = sum(outgoing(), |session| session.pages);
        let pieces = sum(outgoing(), |session| session.pieces);
        Self {
            sessions: outgoing().count() as u64,
            files: sum(outgoing(), |session| session.files),
            pages,
            bytes: pages.map(|pages| pages.saturating_mul(rustix::param::page_size() as u64)),
            pieces,
            boot_seconds: pieces.map(pieces::boot_seconds),
            busy: outgoing()
                .filter(|session| session.state == State::Busy)
                .count() as u64,
        }
    }
}

impl Incoming {
    fn new(sessions: &[Session]) -> Self {
        let incoming = || {
            sessions
                .iter()
                .filter(|session| session.direction == Direction::Incoming)
        };
        let damaged = |session: &&Session| session.state == State::Damaged;
        Self {
            sessions: incoming().count() as u64,
            files: sum(incoming().filter(|it| !damaged(it)), |session| {
                session.files
            }),
            unfinished: incoming()
                .filter(|session| session.state != State::Finished && !damaged(session))
                .count() as u64,
            damaged: incoming().filter(damaged).count() as u64,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let orchestrator = match self.orchestrator {
            "module" => "the module liveupdate",
            "kernel" => "the C orchestrator in the kernel",
            _ => "none: this kernel has no live update",
        };
        writeln!(f, "orchestrator  {orchestrator}")?;
        let image = match self.image_loaded {
            Some(true) => "loaded",
            Some(false) => "not loaded",
            None => "not known: this kernel has no kexec",
        };
        writeln!(f, "next kernel   {image}")?;
        if let Some(outgoing) = &self.outgoing {
            writeln!(
                f,
                "outgoing      {}, {}, {} in {}{}",
                size::count(outgoing.sessions, "session"),
                counted(outgoing.files, "file"),
                outgoing
                    .bytes
                    .map_or("size not known".to_owned(), size::bytes),
                counted(outgoing.pieces, "piece"),
                match outgoing.busy {
                    0 => String::new(),
                    busy => format!(", {busy} busy"),
                }
            )?;
        }
        if let Some(incoming) = &self.incoming {
            writeln!(
                f,
                "incoming      {}, {}, {} not finished{}",
                size::count(incoming.sessions, "session"),
                counted(incoming.files, "file"),
                incoming.unfinished,
                match incoming.damaged {
                    0 => String::new(),
                    damaged => format!(", {damaged} damaged"),
                }
            )?;
        }
        Ok(())
    }
}

/// A number of things that may not be known.
fn counted(count: Option<u64>, thing: &str) -> String {
    match count {
        Some(count) => size::count(count, thing),
        None => format!("an unknown number of {thing}s"),
    }
}

/// Columns that are as wide as their widest word. No line ends with blanks.
struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(header: [&str; N]) -> Self {
        Self {
            rows: vec![header.map(str::to_owned)],
        }
    }

    fn add(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, word) in widths.iter_mut().zip(row) {
                *width = word.len().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (width, word) in widths.iter().zip(row) {
                write!(line, "{word:<width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
