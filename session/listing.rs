// SPDX-License-Identifier: GPL-2.0-only

//! What `/sys/kernel/debug/liveupdate/` shows: sessions, handlers, and FLBs.
//!
//! ```text
//! name direction state files pages pieces age pid comm
//! vm-1 outgoing open 3 196608 412 17 231 agent
//! vm-2 incoming pending 2 - - - - -
//! ```
//!
//! One entry is one line, and one word is one value, `-` if it is not known. Only root can read the
//! files. `docs/operating.md` explains the columns.
//!
//! A reader takes locks that nobody holds while a handler of another module is asked. So it sees a
//! session whose call never returns, and a kexec that a file holds up.

use kernel::{
    seq_file::SeqFile,
    seq_print,
    str::CStr,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::{
    name::Name,
    orchestrator::Orchestrator, //
};
use crate::{
    file_handlers::listing::{
        FlbRow,
        HandlerRow, //
    },
    kapi::{
        debugfs::Directory,
        listing::{
            Listing,
            OrDash,
            Word, //
        },
        module::Entered,
        process::Process, //
    }, //
};

/// The directory in debugfs.
const DIRECTORY: &CStr = c"liveupdate";

/// Makes the directory, which is there until it is dropped.
///
/// # Context
///
/// Process context; sleeps.
pub(crate) fn directory(orchestrator: Arc<Orchestrator>) -> Directory<Orchestrator> {
    Directory::new(DIRECTORY, orchestrator)
        .with_list::<Sessions>(c"sessions")
        .with_list::<Handlers>(c"handlers")
        .with_list::<Flbs>(c"flbs")
}

/// The process that created or retrieved a session, and when.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    process: Process,
    since: Instant<Monotonic>,
}

impl Owner {
    /// The current process, now.
    pub(super) fn current() -> Self {
        Self {
            process: Process::current(),
            since: Instant::now(),
        }
    }
}

/// The order in which sessions are shown; those of one direction are sorted by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Outgoing,
    Incoming,
}

/// A session.
pub(super) struct SessionRow {
    pub(super) direction: Direction,
    pub(super) name: Name,
    pub(super) state: &'static str,
    pub(super) files: Option<u64>,
    pub(super) pages: Option<u64>,
    pub(super) pieces: Option<u64>,
    pub(super) owner: Option<Owner>,
}

struct Sessions;

impl Listing for Sessions {
    type Context = Orchestrator;
    type Row = SessionRow;
    const HEADER: &'static str = "name direction state files pages pieces age pid comm";

    /// Incoming sessions have no names before the list of them is read.
    fn opened(orchestrator: &Orchestrator, entered: &Entered<'_>) {
        // The log tells what is damaged.
        let _ = orchestrator.incoming.read(entered);
    }

    fn after(orchestrator: &Orchestrator, last: Option<&SessionRow>) -> Option<SessionRow> {
        let last_of = |direction| last.filter(|row| row.direction == direction);
        let last_incoming = last_of(Direction::Incoming).map(|row| &row.name);
        if last_incoming.is_none() {
            let last_outgoing = last_of(Direction::Outgoing).map(|row| &row.name);
            let outgoing = orchestrator.outgoing.row_after(last_outgoing);
            if outgoing.is_some() {
                return outgoing;
            }
        }
        orchestrator.incoming.row_after(last_incoming)
    }

    fn show(row: &SessionRow, to: &SeqFile) {
        let direction = match row.direction {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        };
        seq_print!(
            to,
            "{} {direction} {} {} {} {} ",
            Word(row.name.text()),
            row.state,
            OrDash(row.files),
            OrDash(row.pages),
            OrDash(row.pieces)
        );
        match &row.owner {
            Some(Owner { process, since }) => seq_print!(
                to,
                "{} {} {}\n",
                since.elapsed().as_millis() / 1000,
                process.pid(),
                Word(process.name())
            ),
            None => seq_print!(to, "- - -\n"),
        }
    }
}

struct Handlers;

impl Listing for Handlers {
    type Context = Orchestrator;
    type Row = HandlerRow;
    const HEADER: &'static str = HandlerRow::HEADER;

    fn after(orchestrator: &Orchestrator, last: Option<&HandlerRow>) -> Option<HandlerRow> {
        HandlerRow::after(&orchestrator.shared.handlers, last)
    }

    fn show(row: &HandlerRow, to: &SeqFile) {
        row.show(to);
    }
}

struct Flbs;

impl Listing for Flbs {
    type Context = Orchestrator;
    type Row = FlbRow;
    const HEADER: &'static str = FlbRow::HEADER;

    fn after(orchestrator: &Orchestrator, last: Option<&FlbRow>) -> Option<FlbRow> {
        FlbRow::after(&orchestrator.shared.handlers, last)
    }

    fn show(row: &FlbRow, to: &SeqFile) {
        row.show(to);
    }
}
