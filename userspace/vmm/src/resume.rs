// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest of the previous kernel goes on.
//!
//! First everything outside is opened, then the state is read and compared with this host. Only
//! then is the memory retrieved, and a virtual machine gets both. Nothing is finished before its
//! vCPUs run, so each step before that can fail and be tried again, with another state or
//! another version of this program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use liveupdate::{Device, Error};

use crate::guest::{kernel_release, wait_for_device, Arrived, Guest};
use crate::hold::{self, Held};
use crate::machine::Bare;
use crate::memory::Ram;
use crate::options::{ResumeOptions, Surroundings};
use crate::serve::Socket;
use crate::start::Connected;
use crate::state::State;
use crate::sys;

/// When each part of a resume was done.
struct Times {
    begin: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Times {
    fn part(&mut self, name: &'static str) {
        let before: Duration = self.parts.iter().map(|(_, time)| *time).sum();
        self.parts
            .push((name, self.begin.elapsed().saturating_sub(before)));
    }
}

/// Resumes a guest and serves it.
pub fn resume(options: &ResumeOptions) -> Result<()> {
    let mut times = Times {
        begin: Instant::now(),
        parts: Vec::new(),
    };
    // KVM takes as long for a new virtual machine as all of the rest takes.
    let bare = std::thread::spawn(|| {
        let bare = Bare::new()?;
        if let Err(error) = bare.rehearse() {
            tracing::debug!("the resume was not rehearsed: {error:#}");
        }
        Ok(bare)
    });
    let control = &options.surroundings.control;
    let taken = Held::take(control)?;
    let device = if taken.is_none() {
        let device = wait_for_host(options)?;
        // Until now, the host was booting.
        times.begin = Instant::now();
        Some(device)
    } else {
        None
    };
    // Before the sessions are taken, because a process that cannot listen cannot hold them.
    let outside = Outside::open(&options.surroundings).context(KEPT)?;
    times.part("files and sockets");
    let (held, arrived) = match (taken, device) {
        (Some((held, arrived)), _) => (Some(held), arrived),
        (None, Some(device)) => (None, Arrived::new(&device, &options.name)?),
        (None, None) => bail!("no session"),
    };
    times.part("sessions");
    match prepare(options, &arrived, outside, bare, &mut times) {
        Ok(ready) => ready.go(options, held, arrived, &times),
        Err(error) => {
            let error = error.context(KEPT);
            if held.is_none() {
                hold::keep(&arrived, &options.name, control, &error);
            }
            Err(error)
        }
    }
}

/// Waits for the disk, then for the device. A host that boots may have the device first, and
/// then the guest's sessions must not be taken yet.
fn wait_for_host(options: &ResumeOptions) -> Result<Device, Error> {
    let begin = Instant::now();
    let wait = Duration::from_secs(options.wait);
    if let Some(disk) = &options.surroundings.disk {
        while !disk.exists() && begin.elapsed() < wait {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait_for_device(wait.saturating_sub(begin.elapsed()))
}

const KEPT: &str = "the guest was not resumed, and all of it is kept for another try";

/// What is open outside the guest.
struct Outside {
    connected: Connected,
    control: Socket,
}

impl Outside {
    fn open(surroundings: &Surroundings) -> Result<Self> {
        Ok(Self {
            connected: Connected::open(surroundings)?,
            control: Socket::listen(&unused(&surroundings.control))?,
        })
    }
}

/// A guest that can run.
struct Ready {
    guest: Guest,
    outside: Outside,
    kernel: String,
    stopped_at: u64,
    preserved_at: u64,
}

/// Where the control socket is until the process that holds the sessions has closed its own.
/// After the guest runs, nothing may fail.
fn unused(control: &Path) -> PathBuf {
    let mut path = control.as_os_str().to_os_string();
    path.push(".new");
    path.into()
}

/// Does everything that can fail.
fn prepare(
    options: &ResumeOptions,
    arrived: &Arrived,
    mut outside: Outside,
    bare: JoinHandle<Result<Bare>>,
    times: &mut Times,
) -> Result<Ready> {
    let file = match &options.state {
        Some(path) => {
            File::open(path).with_context(|| format!("cannot open {}", path.display()))?
        }
        None => arrived.state_file()?,
    };
    times.part("state file");
    let state = State::load(&file)?;
    times.part("state");

    let bare = match bare.join() {
        Ok(bare) => bare?.with_vcpus(state.vcpus.len())?,
        Err(_) => bail!("the thread that makes the virtual machine panicked"),
    };
    bare.host
        .keeps(&state.promise, bare.tsc_khz)
        .context("this host cannot run the guest")?;
    times.part("rest of the new VM");

    let ram = Ram::take_over(arrived.ram_file()?, state.ram_bytes, state.pages)?;
    let label = ram.label()?;
    ensure!(
        label.guest == state.guest,
        "the state is that of another guest"
    );
    ensure!(
        label.suspends == state.suspends,
        "the state is that of suspend {}, but the memory is that of suspend {}",
        state.suspends,
        label.suspends
    );
    ensure!(
        label.stopped_at != 0,
        "the guest ran after suspend {}, so its state does not fit its memory",
        label.suspends
    );
    times.part("memory");

    let policy = options.clock.unwrap_or(state.policy);
    let prepared = bare.promise(state.promise.clone(), ram)?;
    times.part("CPUID and memory slot");
    let bus = outside.connected.devices(&prepared.vm, Some(&state))?;
    times.part("devices");
    prepared.restore(&state, policy)?;
    times.part("vCPUs");
    let machine = prepared.machine(bus)?;
    let mut guest = Guest::new(
        options.name.clone(),
        machine,
        state.policy,
        state.pages,
        label,
    );
    guest
        .state_copy
        .clone_from(&options.surroundings.state_copy);
    guest.mark_running()?;
    times.part("threads");
    Ok(Ready {
        guest,
        outside,
        kernel: state.kernel,
        stopped_at: label.stopped_at,
        preserved_at: label.preserved_at,
    })
}

impl Ready {
    /// Lets the guest run, finishes its sessions, and preserves it for the next kernel.
    fn go(
        mut self,
        options: &ResumeOptions,
        held: Option<Held>,
        arrived: Arrived,
        times: &Times,
    ) -> Result<()> {
        self.guest.machine.run();
        let now = sys::rdtsc();
        self.report(now, times);
        arrived.finish();
        if let Some(held) = held {
            if let Err(error) = held.done() {
                tracing::warn!("{error:#}");
            }
        }
        if let Err(error) = self.guest.preserve_ram() {
            tracing::warn!("the memory is not preserved yet: {error:#}");
        }
        let path = &options.surroundings.control;
        let Outside {
            connected,
            mut control,
        } = self.outside;
        if let Err(error) = control.rename(path) {
            tracing::warn!(
                "requests are taken at {}: {error}",
                control.path().display()
            );
        }
        connected.serve(control, &mut self.guest)
    }

    fn report(&self, now: u64, times: &Times) {
        let rate = self.guest.machine.rate();
        let between =
            |from: u64, to: u64| Duration::from_nanos(rate.nanoseconds(to.wrapping_sub(from)));
        let total: Duration = times.parts.iter().map(|(_, time)| *time).sum();
        let away = between(self.preserved_at, now).saturating_sub(total);
        let parts: Vec<_> = times
            .parts
            .iter()
            .map(|(name, time)| format!("{name} {time:.1?}"))
            .collect();
        tracing::info!(
            "guest {} of Linux {} goes on in Linux {}, suspend {}",
            self.guest.name,
            self.kernel,
            kernel_release(),
            self.guest.suspends()
        );
        tracing::info!(
            "pause {:.1}s: save and preserve {:.1?}, kexec and boot {away:.1?}, resume {total:.1?} ({})",
            between(self.stopped_at, now).as_secs_f64(),
            between(self.stopped_at, self.preserved_at),
            parts.join(", ")
        );
    }
}
