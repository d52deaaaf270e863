// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The agent `lud`: it owns `/dev/liveupdate`, and hands sessions to programs.
//!
//! [`server`] waits for programs, [`requests`] answers them, [`policy`] decides what they may do,
//! [`sessions`] has the sessions, [`owners`] is the list of their owners that crosses kexec, and
//! [`store`] puts every file descriptor where a restarted agent finds it. Everything reaches the
//! kernel through the trait [`device::Orchestrator`].

#![cfg_attr(test, allow(clippy::expect_used))]

mod cli;
mod device;
#[cfg(feature = "test-points")]
mod fake;
mod log;
mod notify;
mod own;
mod owners;
mod peer;
mod point;
mod policy;
mod record;
mod refusal;
mod requests;
mod rules;
mod server;
mod sessions;
mod signals;
mod socket;
mod store;
mod users;

use anyhow::{Context, Result};
use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Some(Command::CheckPolicy(args)) => {
            let policy = rules::load(&args.file)?;
            println!("{}: {}", args.file.display(), policy.summary());
            Ok(())
        }
        Some(Command::Generate(args)) => generate::run::<cli::Cli>(args),
        None => serve(cli),
    }
}

/// Runs the agent until a signal ends it.
fn serve(cli: &Cli) -> Result<()> {
    // First of all: nothing else may have these numbers.
    let inherited = liveupdate::agent::server::inherited();
    let signals = signals::Signals::new().context("cannot handle signals")?;
    let source = cli.policy_source();
    let policy = source.load()?;
    tracing::info!("policy: {}", policy.summary());
    let notifier = notify::Notifier::from_env()?;
    let mut adopted = store::Adopted::new(inherited);
    let store = store::Store::new(notifier);
    let orchestrator = device::open(&cli.device, &mut adopted, &store)?;
    let listener = socket::listener(&mut adopted, &cli.socket)?;
    let mut sessions = sessions::Sessions::start(orchestrator, store, adopted)?;
    server::Server::new(listener, signals, policy, source).run(&mut sessions)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::init(cli.verbose);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
