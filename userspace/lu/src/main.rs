// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command `lu`: what a kexec carries to the next kernel, and whether it can.
//!
//! [`source`] has the lists of the module, [`agent`] those of the agent, [`report`] prints them, [`check`] judges them, and
//! [`kexec`] enters the next kernel. All of them look below a [`root::Root`], so that tests can
//! show them any system.

#![cfg_attr(test, allow(clippy::expect_used))]

mod agent;
mod check;
mod cli;
mod facts;
mod image;
mod kexec;
mod lists;
mod pieces;
mod process;
mod report;
mod root;
mod size;
mod source;
mod word;

use agent::DebugfsOrAgent;
use anstream::{eprintln, print, println};
use anstyle::{AnsiColor, Style};
use anyhow::{bail, Context, Result};
use clap::Parser;
use cli::{Cli, Command};
use root::Root;
use serde::Serialize;
use source::Debugfs;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

const RED: Style = AnsiColor::Red.on_default().bold();

/// Prints a report as text, or as JSON.
fn print_report<T: Serialize + Display>(report: &T, json: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string_pretty(report).context("cannot write JSON")?;
        println!("{text}");
    } else {
        print!("{report}");
    }
    Ok(())
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let root = Root::new(&cli.root);
    // Only the whole list shows what would be lost.
    let debugfs = Debugfs::new(&root);
    let source = DebugfsOrAgent::new(&root);
    match &cli.command {
        Command::Status(output) => {
            let (status, unavailable) = report::Status::new(&root, &source);
            print_report(&status, output.json)?;
            if let Some(why) = unavailable {
                return Err(why.into());
            }
        }
        Command::Ls(output) => {
            print_report(&report::Sessions::new(&root, &source)?, output.json)?;
        }
        Command::Show(show) => match report::Shown::new(&root, &source, &show.session)? {
            Some(shown) => print_report(&shown, show.output.json)?,
            None => bail!(
                "there is no session \"{}\"",
                word::Word::new(show.session.as_str())
            ),
        },
        Command::Handlers(output) => print_report(&report::Handlers::new(&source)?, output.json)?,
        Command::Check(args) => {
            let report = check::run(&root, &debugfs, &args.image)?;
            print_report(&report, args.output.json)?;
            return Ok(ExitCode::from(report.result.exit_status()));
        }
        Command::Kexec(args) => return kexec::run(&root, &debugfs, args),
        Command::Generate(args) => generate::run::<cli::Cli>(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    match run(&cli) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{RED}lu:{RED:#} {error:#}");
            // For "check", 1 would mean that something would be lost.
            match cli.command {
                Command::Check(_) | Command::Kexec(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
