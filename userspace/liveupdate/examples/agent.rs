// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program that goes on where it stopped, across kexec.
//!
//! ```text
//! agent          retrieves what the previous kernel left, else begins anew; counts in
//!                memory that crosses; preserves it, and holds it until the kexec
//! ```
//!
//! Start it in each kernel. `kexec -e` kills no process, so the session lives until the kexec.

use liveupdate::memory::Options;
use liveupdate::state::{self, State};
use liveupdate::{Device, OutgoingSession, Reason, SessionName, Token};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

const MEMORY: Token = Token::new(1);
const STATE: Token = Token::new(2);
const SIZE: u64 = 16 << 20;

/// What the program must know in the next kernel; the content of the memory is in the memory.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Agent {
    kernels: u32,
}

impl State for Agent {
    const KIND: &'static str = "example-agent";
    const VERSION: u32 = 1;
}

/// Takes over what the previous kernel left, if it left something.
fn take_over(
    device: &Device,
    name: &SessionName,
) -> Result<Option<(Agent, OwnedFd)>, Box<dyn Error>> {
    let session = match device.retrieve_session(name) {
        Ok(session) => session,
        Err(error) if error.reason() == Reason::SessionAbsent => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The state first: if this program cannot read it, the memory is of no use, and dropping
    // the session frees it.
    let agent = state::load(session.retrieve(STATE)?.as_fd())?;
    let memory = session.retrieve(MEMORY)?;
    session.finish()?;
    Ok(Some((agent, memory)))
}

/// Preserves everything. The caller keeps the session until the kexec.
fn hand_over(
    device: &Device,
    name: &SessionName,
    agent: &Agent,
    memory: &OwnedFd,
) -> Result<OutgoingSession, Box<dyn Error>> {
    let session = device.create_session(name)?;
    session.preserve(MEMORY, memory)?;
    session.preserve(STATE, state::save(agent)?)?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let name: SessionName = "example-agent".parse()?;
    let device = match Device::open() {
        Ok(device) => device,
        Err(error) if error.reason() == Reason::DeviceAbsent => {
            println!("this kernel has no live update");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };

    let (mut agent, memory) = match take_over(&device, &name)? {
        Some(found) => found,
        None => (
            Agent::default(),
            Options::new("example-agent").size(SIZE).create()?,
        ),
    };
    agent.kernels += 1;

    let memory = File::from(memory);
    let mut count = [0; 8];
    memory.read_exact_at(&mut count, 0)?;
    println!(
        "kernel {} of this agent; counted to {}",
        agent.kernels,
        u64::from_le_bytes(count)
    );

    let memory = OwnedFd::from(memory);
    let session = hand_over(&device, &name, &agent, &memory)?;
    // Others can open the device now. The session does not need it.
    drop(device);
    println!("session \"{}\" waits for the kexec", session.name());

    // A preserved file can be written until the kexec, and what is written crosses.
    let memory = File::from(memory);
    for count in u64::from_le_bytes(count).. {
        memory.write_all_at(&count.to_le_bytes(), 0)?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}
