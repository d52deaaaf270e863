// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest with its sessions: preserving its RAM while it runs, suspending it, and letting it
//! go on if the kexec does not happen.
//!
//! Two sessions cross: the RAM is in one from the start, the state is in the other from the
//! suspend on. Closing a session gives its files back, so a suspend that is taken back
//! closes the second one and leaves the RAM preserved.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use liveupdate::{Device, Error, IncomingSession, OutgoingSession, Reason, SessionName, Token};

use crate::clock::Policy;
use crate::machine::{Head, Machine};
use crate::memory::{Label, Pages};
use crate::state::State;
use crate::sys;

const RAM_TOKEN: Token = Token::new(1);
const STATE_TOKEN: Token = Token::new(2);
/// How long to wait for another program to close `/dev/liveupdate`.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of the session with the `part` of a guest.
fn session_name(name: &str, part: &str) -> Result<SessionName> {
    Ok(SessionName::new(format!("vmm.{name}.{part}"))?)
}

/// The name of a guest, which names its sessions.
pub fn check_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=40).contains(&name.len()) && name.bytes().all(plain) {
        Ok(name.to_string())
    } else {
        Err("a name has 1 to 40 letters, digits, \"-\" or \"_\"".to_string())
    }
}

/// Opens the device. If it does not exist, waits at most `wait` for it.
pub fn wait_for_device(wait: Duration) -> Result<Device, Error> {
    let begin = Instant::now();
    loop {
        match open_device() {
            Err(error) if error.reason() == Reason::DeviceAbsent && begin.elapsed() < wait => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

fn open_device() -> Result<Device, Error> {
    let begin = Instant::now();
    loop {
        match Device::open() {
            Err(error) if error.reason() == Reason::DeviceBusy && begin.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// The sessions that the previous kernel handed over.
pub struct Arrived {
    pub ram: IncomingSession,
    pub state: IncomingSession,
}

impl Arrived {
    /// Gets the sessions of the guest `name`.
    pub fn new(device: &Device, name: &str) -> Result<Self> {
        // A guest that was not suspended has no state. Its memory then stays with the kernel.
        let state = match device.retrieve_session(&session_name(name, "state")?) {
            Err(error) if error.reason() == Reason::SessionAbsent => Err(error)
                .context("the guest was not suspended before the kexec, or has another name"),
            result => result.map_err(Into::into),
        }?;
        let ram = device.retrieve_session(&session_name(name, "ram")?)?;
        Ok(Self { ram, state })
    }

    pub fn ram_file(&self) -> Result<File, Error> {
        self.ram.retrieve(RAM_TOKEN).map(File::from)
    }

    pub fn state_file(&self) -> Result<File> {
        self.state
            .retrieve(STATE_TOKEN)
            .map(File::from)
            .context("the guest's state was not handed over")
    }

    /// Gives both sessions back to the kernel. What cannot be finished now is finished when
    /// it is closed.
    pub fn finish(self) {
        for session in [self.state, self.ram] {
            if let Err(rejected) = session.finish() {
                tracing::warn!("{}", rejected.error);
            }
        }
    }
}

/// A guest.
pub struct Guest {
    pub name: String,
    pub machine: Machine,
    pub policy: Policy,
    pub pages: Pages,
    /// Where a copy of the state goes.
    pub state_copy: Option<PathBuf>,
    label: Label,
    ram_session: Option<OutgoingSession>,
    suspended: Option<Suspended>,
}

struct Suspended {
    state: State,
    _session: OutgoingSession,
}

/// How long a suspend took.
pub struct SuspendTimes {
    pub stop: Duration,
    pub save: Duration,
    pub preserve: Duration,
    pub state_bytes: u64,
}

impl std::fmt::Display for SuspendTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "vCPUs stopped in {:.1?}, state of {} bytes saved in {:.1?}, preserved in {:.1?}",
            self.stop, self.state_bytes, self.save, self.preserve
        )
    }
}

impl Guest {
    pub fn new(name: String, machine: Machine, policy: Policy, pages: Pages, label: Label) -> Self {
        Self {
            name,
            machine,
            policy,
            pages,
            state_copy: None,
            label,
            ram_session: None,
            suspended: None,
        }
    }

    /// Number of suspends since the guest was started.
    pub fn suspends(&self) -> u64 {
        self.label.suspends
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// Preserves the RAM for the next kernel, unless that was done. The guest may run.
    pub fn preserve_ram(&mut self) -> Result<()> {
        if self.ram_session.is_none() {
            let session = open_device()?.create_session(&session_name(&self.name, "ram")?)?;
            session.preserve(RAM_TOKEN, self.machine.ram().file())?;
            self.ram_session = Some(session);
        }
        Ok(())
    }

    /// Stops the guest and preserves its state. If this fails, the guest runs on.
    pub fn suspend(&mut self) -> Result<SuspendTimes> {
        ensure!(self.suspended.is_none(), "the guest is already suspended");
        ensure!(self.machine.why_ended().is_none(), "the guest has ended");
        self.preserve_ram()?;
        let session = open_device()?.create_session(&session_name(&self.name, "state")?)?;
        let result = self.suspend_into(session);
        if result.is_err() {
            if let Err(error) = self.mark_running() {
                tracing::error!("{error:#}");
            }
            self.machine.run();
        }
        result
    }

    /// Says in the memory's label that the guest runs, so that no state belongs to it.
    pub fn mark_running(&mut self) -> Result<()> {
        self.label.stopped_at = 0;
        self.machine.ram().write_label(&self.label)
    }

    fn suspend_into(&mut self, session: OutgoingSession) -> Result<SuspendTimes> {
        let begin = Instant::now();
        self.machine.stop();
        let stopped_at = sys::rdtsc();
        let stop = begin.elapsed();
        // It may have ended on the way.
        ensure!(self.machine.why_ended().is_none(), "the guest has ended");
        let state = self.machine.save(Head {
            guest: self.label.guest,
            suspends: self.label.suspends.wrapping_add(1),
            kernel: kernel_release(),
            pages: self.pages,
            policy: self.policy,
        })?;
        let file = File::from(state.save()?);
        let save = begin.elapsed().saturating_sub(stop);
        session.preserve(STATE_TOKEN, &file)?;
        self.label.suspends = self.label.suspends.wrapping_add(1);
        self.label.stopped_at = stopped_at;
        self.label.preserved_at = sys::rdtsc();
        self.machine.ram().write_label(&self.label)?;
        if let Some(path) = &self.state_copy {
            copy(&file, path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.suspended = Some(Suspended {
            state,
            _session: session,
        });
        Ok(SuspendTimes {
            stop,
            save,
            preserve: begin.elapsed().saturating_sub(stop + save),
            state_bytes: file.metadata()?.len(),
        })
    }

    /// Lets a suspended guest go on in this kernel, even if its clock cannot be set.
    pub fn go_on(&mut self) -> Result<()> {
        if let Some(suspended) = self.suspended.take() {
            let marked = self.mark_running();
            let clocks = self.machine.reset_clocks(&suspended.state, self.policy);
            self.machine.run();
            marked.and(clocks)?;
        }
        Ok(())
    }
}

/// Copies a file from its start, without moving its position.
fn copy(file: &File, path: &Path) -> std::io::Result<()> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    std::fs::write(path, &bytes)
}

/// The release of the running kernel.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_name("vm-1").is_ok());
        for bad in ["", "a b", "a/b", "ä", &"a".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(session_name(&"a".repeat(40), "state").is_ok());
    }
}
