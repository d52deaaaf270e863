// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `lu check`: would a kexec now carry everything?
//!
//! Each check is a function of [`Facts`] that reads no files. What cannot be known from userspace
//! is said, and does not count: the command line of a loaded image, by which system call it was
//! loaded, and whether a program is still writing to memory that is preserved.

use crate::cli;
use crate::facts::{has_word, Facts, Kho, Lists};
use crate::image::Image;
use crate::lists::{Direction, Session, State};
use crate::pieces;
use crate::root::Root;
use crate::size;
use crate::source::{Orchestrator, Source, Unavailable};
use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Could not be looked at.
    Unknown,
    /// A kexec now would lose something, or carry nothing.
    Loss,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Loss => "loss",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Note => AnsiColor::Cyan.on_default(),
            Self::Unknown => AnsiColor::Yellow.on_default().bold(),
            Self::Loss => AnsiColor::Red.on_default().bold(),
        }
    }

    /// The exit status of `lu check` if this is the worst finding.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Good | Self::Note => 0,
            Self::Loss => 1,
            Self::Unknown => 2,
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// What it means.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, message: impl Into<String>) -> Self {
        Self {
            check,
            level,
            message: message.into(),
            advice: None,
        }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// All findings.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The worst of them. A note counts as good.
    pub result: Level,
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// In how many pieces the memory of outgoing sessions is, if that is known.
    pub pieces: Option<u64>,
    /// By how many seconds they can delay the boot of a next kernel without patches.
    pub boot_seconds: Option<u64>,
}

/// Looks at the system, and judges it.
pub fn run(root: &Root, source: &dyn Source, image: &cli::Image) -> Result<Report> {
    let image = Image::find(root, image)?;
    Ok(Report::new(&Facts::gather(root, source, image)))
}

impl Report {
    /// Runs all checks.
    pub fn new(facts: &Facts) -> Self {
        const CHECKS: [fn(&Facts) -> Vec<Finding>; 9] = [
            device,
            kho,
            scratch,
            image,
            next_kernel,
            lists,
            outgoing,
            incoming,
            handlers,
        ];
        let mut findings: Vec<_> = CHECKS.iter().flat_map(|check| check(facts)).collect();
        let pieces = facts.lists.as_ref().ok().map(count_pieces);
        findings.extend(boot(pieces));
        let worst = findings.iter().map(|finding| finding.level).max();
        Self {
            result: worst
                .filter(|level| *level > Level::Note)
                .unwrap_or(Level::Good),
            findings,
            pieces,
            boot_seconds: pieces.map(pieces::boot_seconds),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let style = finding.level.style();
            writeln!(
                f,
                "{style}{:<8}{style:#}{:<10}{}",
                finding.level.word(),
                finding.check,
                finding.message
            )?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "{:18}-> {advice}", "")?;
            }
        }
        f.write_str(match self.result {
            Level::Good | Level::Note => "a kexec would carry everything that is preserved\n",
            Level::Unknown => "not everything could be looked at\n",
            Level::Loss => "a kexec would not carry everything\n",
        })
    }
}

fn device(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: &str| Finding::new("device", level, message);
    vec![match facts.orchestrator {
        Orchestrator::Module => finding(Level::Good, "the module liveupdate is loaded"),
        Orchestrator::Kernel => finding(Level::Good, "this kernel has the C orchestrator"),
        Orchestrator::Absent => finding(
            Level::Loss,
            "this kernel has no live update, so no program can preserve a file",
        )
        .advice("load the module: \"modprobe liveupdate\" or \"insmod liveupdate.ko\""),
    }]
}

fn kho(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: &str| Finding::new("kho", level, message);
    vec![match facts.kho {
        Kho::On(_) => finding(
            Level::Good,
            "this kernel has Kexec HandOver (KHO) switched on",
        ),
        Kho::Off if has_word(&facts.command_line, "kho=on") => finding(
            Level::Loss,
            "KHO is off although the command line has \"kho=on\"",
        )
        .advice(
            "see \"dmesg | grep KHO\": the kernel needs CONFIG_KEXEC_HANDOVER, and room for \
             kho_scratch=",
        ),
        Kho::Off => finding(
            Level::Loss,
            "KHO is off: the command line has no \"kho=on\"",
        )
        .advice("boot this kernel with \"kho=on\""),
        Kho::Hidden => finding(Level::Unknown, "only root can see whether KHO is on")
            .advice("run \"sudo lu check\""),
    }]
}

fn scratch(facts: &Facts) -> Vec<Finding> {
    let Kho::On(areas) = &facts.kho else {
        return Vec::new();
    };
    let finding = |level, message| Finding::new("scratch", level, message);
    let Some(largest) = areas.iter().max() else {
        return vec![finding(
            Level::Note,
            "the sizes of the scratch areas cannot be seen".to_owned(),
        )
        .advice("as root, with debugfs mounted and CONFIG_KEXEC_HANDOVER_DEBUGFS=y")];
    };
    // The kernel puts image and initramfs into scratch memory, where nothing is preserved.
    if let Some(image) = facts.image.as_ref().filter(|image| image.bytes > *largest) {
        return vec![finding(
            Level::Loss,
            format!(
                "the next kernel and its initramfs ({}) have no room in the largest scratch area \
                 ({})",
                size::bytes(image.bytes),
                size::bytes(*largest)
            ),
        )
        .advice("boot this kernel with larger areas: kho_scratch=LOW,GLOBAL,NODE")];
    }
    let sizes: Vec<_> = areas.iter().map(|bytes| size::bytes(*bytes)).collect();
    vec![finding(
        Level::Good,
        format!("scratch memory for the next boot: {}", sizes.join(", ")),
    )]
}

fn image(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: &str| Finding::new("image", level, message);
    if facts.image_loaded.is_none() {
        return vec![finding(
            Level::Unknown,
            "the kernel does not say whether an image is loaded",
        )
        .advice("boot a kernel with CONFIG_KEXEC_FILE=y, and mount sysfs")];
    }
    // Another image is about to be loaded.
    if facts.image.is_some() {
        if facts.loading_disabled {
            return vec![finding(
                Level::Loss,
                "images cannot be loaded: kernel.kexec_load_disabled is 1",
            )
            .advice("only a boot through the firmware resets that")];
        }
        return Vec::new();
    }
    if facts.image_loaded == Some(false) {
        let missing = finding(Level::Loss, "no image is loaded: there is no next kernel");
        let advice = if facts.loading_disabled {
            "kernel.kexec_load_disabled is 1, which only a boot through the firmware resets"
        } else {
            "load one: \"kexec -s -l KERNEL --initrd=INITRAMFS --reuse-cmdline\", or let \
             \"lu kexec --kernel\" do it"
        };
        return vec![missing.advice(advice)];
    }
    let mut findings = vec![finding(Level::Good, "an image is loaded")];
    if !facts.only_file_load {
        let why = match facts.orchestrator {
            Orchestrator::Module => {
                "the kernel does not tell whether \"kexec -s\" has loaded the image: if not, the \
                 module refuses the kexec as long as there are sessions"
            }
            _ => {
                "the kernel does not tell whether \"kexec -s\" has loaded the image: if not, the \
                 kexec happens, and everything is lost"
            }
        };
        findings.push(
            finding(Level::Note, why).advice("if in doubt, load it again with \"kexec -s -l\""),
        );
    }
    findings
}

/// What is known of the next kernel.
fn next_kernel(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: String| Finding::new("next", level, message);
    let Some(image) = &facts.image else {
        if facts.image_loaded != Some(true) {
            return Vec::new();
        }
        return vec![finding(
            Level::Note,
            "the command line of a loaded image cannot be read: it must have \"kho=on\"".to_owned(),
        )
        .advice(
            "\"lu check --kernel PATH --command-line TEXT\" checks an image before it is loaded",
        )];
    };
    let mut findings = Vec::new();
    let name = image
        .version
        .clone()
        .unwrap_or_else(|| image.kernel.display().to_string());
    if image.relocatable == Some(false) {
        findings.push(
            finding(
                Level::Loss,
                format!("{name} cannot be loaded by kexec_file_load: it is not relocatable"),
            )
            .advice("build it with CONFIG_RELOCATABLE=y"),
        );
    }
    if image.has_option("CONFIG_KEXEC_HANDOVER") == Some(false) {
        findings.push(
            finding(Level::Loss, format!("{name} has no KHO"))
                .advice("build it with CONFIG_KEXEC_HANDOVER=y"),
        );
    }
    // The last word counts. Some kernels have KHO on without any.
    let asked = image
        .command_line
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("kho="));
    let by_default = image.has_option("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT") == Some(true);
    let on = asked.map_or(by_default, |value| matches!(value, "on" | "1" | "y" | "Y"));
    if !on {
        findings.push(
            finding(
                Level::Loss,
                "the command line of the next kernel does not have \"kho=on\"".to_owned(),
            )
            .advice("add it to --command-line"),
        );
    }
    let in_kernel = image.has_option("CONFIG_LIVEUPDATE");
    if in_kernel == Some(true) {
        if !has_word(&image.command_line, "liveupdate=on") {
            findings.push(
                finding(
                    Level::Loss,
                    format!(
                        "{name} has the C orchestrator, and its command line does not have \
                         \"liveupdate=on\""
                    ),
                )
                .advice("add it to --command-line"),
            );
        }
    } else if image.has_module("liveupdate") == Some(false) && in_kernel == Some(false) {
        findings.push(
            finding(
                Level::Loss,
                format!("{name} has neither the C orchestrator nor the module liveupdate"),
            )
            .advice(format!(
                "build the module for it, or install it to /lib/modules/{name}"
            )),
        );
    }
    if findings.is_empty() {
        findings.push(finding(
            Level::Good,
            format!("nothing is known against the next kernel, {name}"),
        ));
    }
    findings
}

fn lists(facts: &Facts) -> Vec<Finding> {
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

fn outgoing(facts: &Facts) -> Vec<Finding> {
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

fn incoming(facts: &Facts) -> Vec<Finding> {
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
fn handlers(facts: &Facts) -> Vec<Finding> {
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

fn count_pieces(lists: &Lists) -> u64 {
    lists
        .sessions
        .iter()
        .filter(|session| session.direction == Direction::Outgoing)
        .filter_map(|session| session.pieces)
        .fold(0, u64::saturating_add)
}

fn boot(pieces: Option<u64>) -> Vec<Finding> {
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
