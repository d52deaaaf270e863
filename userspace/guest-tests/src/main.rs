// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crate `liveupdate` against a real device, across a kexec.
//!
//! `crate_stages 1` preserves, and leaves a process that holds the sessions; `crate_stages 2`
//! runs in the next kernel. Both print KTAP, one line a case, and fail if a case fails.

mod cases;
mod tap;

use cases::{Case, Context, CASES};
use liveupdate::{Device, IncomingSession, OutgoingSession, SessionName};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use tap::{Failure, Outcome, Report};

fn session_name(case: &Case) -> Result<SessionName, Failure> {
    Ok(SessionName::new(format!("crate.{}", case.name))?)
}

/// The first kernel: every case gets an outgoing session, which the caller keeps.
fn preserve(kept: &mut Vec<OutgoingSession>) -> bool {
    let mut report = Report::begin(CASES.len());
    for case in CASES {
        let mut run = || -> Outcome {
            let device = Device::open()?;
            let session = device.create_session(&session_name(case)?)?;
            let context = Context { device };
            (case.preserve)(&context, &session, kept)?;
            kept.push(session);
            Ok(())
        };
        let outcome = run();
        report.case(&format!("crate.{} stage 1", case.name), &outcome);
    }
    report.passed()
}

/// The next kernel: every case gets its incoming session, and finishes it.
fn retrieve() -> bool {
    let mut report = Report::begin(CASES.len());
    for case in CASES {
        let run = || -> Outcome {
            let device = Device::open()?;
            let session: IncomingSession = device.retrieve_session(&session_name(case)?)?;
            (case.retrieve)(&Context { device }, session)
        };
        report.case(&format!("crate.{} stage 2", case.name), &run());
    }
    report.passed()
}

/// Starts the process that holds the sessions, and waits until everything is preserved. Its
/// standard input is a socket, on which it says so.
fn start_holder() -> Result<bool, Failure> {
    let (mut ours, its) = UnixStream::pair()?;
    // The child lives on after this process; nobody waits for it.
    Command::new(std::env::current_exe()?)
        .arg("hold")
        .stdin(Stdio::from(OwnedFd::from(its)))
        .spawn()?;
    let mut answer = [0];
    ours.read_exact(&mut answer)?;
    Ok(answer == *b"y")
}

fn hold() -> Result<(), Failure> {
    let mut parent = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::process::setsid()?;
    let mut kept = Vec::new();
    let passed = preserve(&mut kept);
    parent.write_all(if passed { b"y" } else { b"n" })?;
    loop {
        std::thread::park();
    }
}

fn main() -> ExitCode {
    let passed = match std::env::args().nth(1).as_deref() {
        Some("1") => start_holder(),
        Some("2") => Ok(retrieve()),
        Some("hold") => hold().map(|()| false),
        _ => {
            eprintln!("usage: crate_stages 1 | 2");
            return ExitCode::FAILURE;
        }
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            println!("Bail out! {failure}");
            ExitCode::FAILURE
        }
    }
}
