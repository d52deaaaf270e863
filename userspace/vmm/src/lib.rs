// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A virtual machine monitor whose guests outlive the kernel of their host.
//!
//! Read in this order: [`memory`], [`machine`], [`gate`], [`run`](mod@run), [`vcpu`], [`clock`],
//! [`host`], [`state`], [`guest`] and [`resume`]; then the devices ([`bus`], [`serial`], [`virtio`]) and the rest.
//!
//! The program is a library, so that its tests and fuzz targets can be programs of their own.
// KVM's interface has 32 bits where a size or an index is known to be small, and this program
// is for 64-bit hosts only.
#![allow(clippy::cast_possible_truncation)]
// The documentation is for readers of the code.
#![allow(rustdoc::private_intra_doc_links)]
// A test fails by a panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod boot;
mod bus;
mod clock;
mod frames;
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod guest;
mod hold;
mod host;
mod machine;
mod memory;
mod mptable;
mod options;
mod resume;
mod run;
mod serial;
mod serve;
mod start;
mod state;
mod sys;
mod vcpu;
mod virtio;

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use options::{Options, SuspendOptions};

/// Runs the command of this process.
#[must_use]
pub fn run() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_max_level(LevelFilter::INFO)
        .without_time()
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match options {
        Options::Run(options) => start::run(options),
        Options::Resume(options) => resume::resume(&options),
        Options::SuspendToSession(options) => suspend(&options),
        Options::Status { control } => serve::ask(&control, "status").map(|(_, answer)| {
            println!("{answer}");
        }),
        Options::Talk { console, line } => talk(&console, &line),
        Options::Check { state } => check(&state),
        Options::Frames { pid } => frames::print(pid),
        Options::Hold { name: _, control } => hold::hold(&control),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Suspends a guest, runs the command that enters the next kernel, and lets the guest go on
/// if that command returns.
fn suspend(options: &SuspendOptions) -> Result<()> {
    let (mut connection, times) = serve::ask(&options.control, "suspend")?;
    tracing::info!("{times}");
    let mut command = options.command.iter();
    let program = command.next().context("no command")?;
    let status = Command::new(program).args(command).status();
    let went_on = serve::ask_again(&mut connection, "continue");
    let status = status.with_context(|| format!("cannot run {program}"))?;
    went_on?;
    anyhow::bail!("{program} returned ({status}), so the guest goes on in this kernel");
}

/// How long a guest may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a line to a guest's console, and prints the line that comes back.
fn talk(console: &Path, line: &str) -> Result<()> {
    let mut stream = UnixStream::connect(console)
        .with_context(|| format!("no guest listens at {}", console.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .context("the guest did not answer")?;
    print!("{answer}");
    Ok(())
}

fn check(path: &Path) -> Result<()> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let state = state::State::load(&file)?;
    println!(
        "suspend {} of a guest with {} vCPUs and {} bytes of memory, on Linux {}",
        state.suspends,
        state.vcpus.len(),
        state.ram_bytes,
        state.kernel
    );
    Ok(())
}
