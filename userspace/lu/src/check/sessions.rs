// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of outgoing and incoming sessions.

use super::{Finding, Level};
use crate::facts::{Facts, Lists};
use crate::lists::{Direction, Session, State};
use crate::pieces;
use crate::size;
use crate::source::Unavailable;
use std::collections::BTreeSet;

/// Without the lists of sessions, nothing is known of them.
pub(super) fn lists(facts: &Facts) -> Vec<Finding> {
    let finding = |why: &Unavailable, advice: &str| {
        Finding::new(
            "sessions",
            Level::Unknown,
            format!("cannot list sessions: {why}"),
        )
        .advice(advice)
    };
    match &facts.lists {
        // Another check says so.
        Ok(_) | Err(Unavailable::Absent) => Vec::new(),
        Err(why @ Unavailable::NoLists) => {
            let held = facts.holders.len() as u64;
            vec![finding(
                why,
                &format!(
                    "ask the programs that hold them: {} open, as far as you can see",
                    size::count(held, "session")
                ),
            )]
        }
        Err(why) => vec![finding(why, "then check again")],
    }
}

fn in_direction(facts: &Facts, direction: Direction) -> impl Iterator<Item = &Session> {
    facts
        .lists
        .iter()
        .flat_map(|lists| &lists.sessions)
        .filter(move |session| session.direction == direction)
}

/// Sessions for the next kernel.
pub(super) fn outgoing(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: String| Finding::new("outgoing", level, message);
    if facts.lists.is_err() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let (mut sessions, mut files) = (0, 0);
    for session in in_direction(facts, Direction::Outgoing) {
        let name = &session.name;
        sessions += 1;
        files += session.files.unwrap_or(0);
        match session.state {
            State::Busy => findings.push(
                finding(
                    Level::Loss,
                    format!("session {name}: a task is preserving a file"),
                )
                .advice(match session.pid {
                    Some(pid) => format!("wait until it has, or look at process {pid}"),
                    None => "wait until it has".to_owned(),
                }),
            ),
            State::Frozen => findings.push(
                finding(
                    Level::Loss,
                    format!("session {name} is frozen: a kexec is being entered already"),
                )
                .advice("wait for it, or see in the log what holds it up"),
            ),
            _ if session.files == Some(0) => {
                findings.push(finding(Level::Note, format!("session {name} has no files")));
            }
            _ => (),
        }
    }
    if sessions == 0 {
        findings.push(
            finding(Level::Note, "nothing is preserved".to_owned())
                .advice("start the programs that preserve files before the kexec"),
        );
    } else if !findings.iter().any(|finding| finding.level == Level::Loss) {
        findings.push(finding(
            Level::Good,
            format!(
                "{} with {} will cross",
                size::count(sessions, "session"),
                size::count(files, "file")
            ),
        ));
    }
    findings
}

/// A session that is not finished does not cross a second kexec.
pub(super) fn incoming(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: String| Finding::new("incoming", level, message);
    let mut findings = Vec::new();
    for session in in_direction(facts, Direction::Incoming) {
        let name = &session.name;
        let files = session
            .files
            .map_or_else(|| "files".to_owned(), |files| size::count(files, "file"));
        match session.state {
            State::Finished => (),
            State::Damaged => findings.push(
                finding(
                    Level::Note,
                    format!("session {name} is damaged: its files are lost already"),
                )
                .advice("\"dmesg | grep liveupdate\" says what is damaged"),
            ),
            _ => {
                let holder = match session.pid {
                    Some(pid) => format!("process {pid} must retrieve its files, finish it"),
                    None => "start the program that retrieves its files and finishes it".to_owned(),
                };
                findings.push(
                    finding(
                        Level::Loss,
                        format!(
                            "session {name} came in with {files} and is not finished: incoming \
                             sessions do not cross a second kexec"
                        ),
                    )
                    .advice(format!("{holder}, and preserve them again")),
                );
            }
        }
    }
    findings
}

/// Files of other modules' handlers need the same modules in the next kernel.
pub(super) fn handlers(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: String| Finding::new("handlers", level, message);
    let Ok(lists) = &facts.lists else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for flb in &lists.flbs {
        if flb.direction == Direction::Incoming && flb.state == "pending" && flb.module.is_none() {
            findings.push(
                finding(
                    Level::Note,
                    format!(
                        "the FLB {} came in, and no module has registered it",
                        flb.name
                    ),
                )
                .advice("load its module"),
            );
        }
    }
    let used: BTreeSet<&str> = facts
        .holders
        .values()
        .flatten()
        .flat_map(|holder| &holder.files)
        .map(|file| file.handler.as_str())
        .collect();
    for handler in &lists.handlers {
        let Some(module) = &handler.module else {
            continue;
        };
        let (name, module) = (handler.name.to_string(), module.to_string());
        if module == "liveupdate" || !used.contains(name.as_str()) {
            continue;
        }
        let missing = facts
            .image
            .as_ref()
            .and_then(|image| image.has_module(&module));
        findings.push(match missing {
            Some(false) => finding(
                Level::Loss,
                format!("files of the handler {name} need the module {module}, which the next kernel lacks"),
            )
            .advice(format!("install {module}.ko for the next kernel")),
            _ => finding(
                Level::Note,
                format!("files of the handler {name} need the module {module} in the next kernel"),
            )
            .advice("load it there before the programs retrieve"),
        });
    }
    let known: BTreeSet<String> = lists
        .handlers
        .iter()
        .map(|handler| handler.name.to_string())
        .collect();
    for name in used.iter().filter(|name| !known.contains(**name)) {
        findings.push(
            finding(
                Level::Loss,
                format!(
                    "no module has registered the handler {name}, which files in sessions need"
                ),
            )
            .advice("load its module, and retrieve those files"),
        );
    }
    findings
}

/// In how many pieces the memory of outgoing sessions is.
pub(super) fn count_pieces(lists: &Lists) -> u64 {
    lists
        .sessions
        .iter()
        .filter(|session| session.direction == Direction::Outgoing)
        .filter_map(|session| session.pieces)
        .fold(0, u64::saturating_add)
}

/// How long the next boot takes for what is preserved.
pub(super) fn boot(pieces: Option<u64>) -> Vec<Finding> {
    let Some(pieces) = pieces.filter(|pieces| *pieces > 0) else {
        return Vec::new();
    };
    let seconds = pieces::boot_seconds(pieces);
    let finding = |level, message| Finding::new("boot", level, message);
    let memory = size::count(pieces, "piece");
    vec![match seconds {
        0 => finding(
            Level::Good,
            format!("{memory} of memory delay the next boot by less than a second"),
        ),
        _ => finding(
            Level::Note,
            format!(
                "{memory} of memory delay the next boot by {} if that kernel lacks the patches \
                 of the module",
                size::seconds(seconds)
            ),
        )
        .advice("boot a patched kernel, or preserve memory in huge pages"),
    }]
}
