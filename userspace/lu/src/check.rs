// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `lu check`: would a kexec now carry everything?
//!
//! Each check is a function of [`Facts`] that reads no files. What cannot be known from userspace
//! is said, and does not count: the command line of a loaded image, by which system call it was
//! loaded, and whether a program is still writing to memory that is preserved.

mod host;
mod next;
mod sessions;

use crate::cli;
use crate::facts::Facts;
use crate::image::Image;
use crate::pieces;
use crate::root::Root;
use crate::source::Source;
use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde::Serialize;
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
            host::device,
            host::kho,
            host::scratch,
            next::image,
            next::next_kernel,
            sessions::lists,
            sessions::outgoing,
            sessions::incoming,
            sessions::handlers,
        ];
        let mut findings: Vec<_> = CHECKS.iter().flat_map(|check| check(facts)).collect();
        let pieces = facts.lists.as_ref().ok().map(sessions::count_pieces);
        findings.extend(sessions::boot(pieces));
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
