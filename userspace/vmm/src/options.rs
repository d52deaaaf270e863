// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::clock::Policy;
use crate::guest::check_name;
use crate::host::Cpu;
use crate::memory::Pages;

/// Runs virtual machines that outlive the kernel of their host.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub enum Options {
    /// Start a guest, and preserve its memory for the next kernel.
    Run(RunOptions),
    /// Stop a guest, preserve its state, and run the command that enters the next kernel. If
    /// the command returns, the guest goes on.
    SuspendToSession(SuspendOptions),
    /// Let a guest of the previous kernel go on. If that fails, another process holds what was
    /// handed over, and resume can be tried again.
    Resume(ResumeOptions),
    /// Say whether a guest runs.
    Status {
        /// The guest's control socket.
        #[arg(long)]
        control: PathBuf,
    },
    /// Send a line to a guest's console, and print the line that comes back.
    Talk {
        /// The socket that is connected to the guest's console.
        #[arg(long)]
        console: PathBuf,
        line: String,
    },
    /// Say whether a file has the state of a guest.
    Check { state: PathBuf },
    /// Print the page frame of each page of a guest's memory, for tests.
    #[command(hide = true)]
    Frames { pid: u32 },
    /// Hold the sessions of a guest that could not be resumed.
    #[command(hide = true)]
    Hold {
        name: String,
        #[arg(long)]
        control: PathBuf,
    },
}

#[derive(Args)]
pub struct RunOptions {
    /// Name of the guest, and of its sessions.
    #[arg(value_parser = check_name)]
    pub name: String,
    /// The guest's kernel, a bzImage.
    #[arg(long)]
    pub kernel: PathBuf,
    #[arg(long)]
    pub initrd: Option<PathBuf>,
    /// More words for the guest's kernel command line.
    #[arg(long, default_value = "")]
    pub append: String,
    /// The guest's memory in MiB.
    #[arg(long, default_value_t = 128)]
    pub memory: u64,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub vcpus: u8,
    #[arg(long, value_enum, default_value_t = Pages::Small)]
    pub pages: Pages,
    #[arg(long, value_enum, default_value_t = Cpu::Host)]
    pub cpu: Cpu,
    /// What the guest's clocks do while it is suspended.
    #[arg(long, value_enum, default_value_t = Policy::Jump)]
    pub clock: Policy,
    #[command(flatten)]
    pub surroundings: Surroundings,
}

/// What a guest is connected to. None of it crosses a kexec.
#[derive(Args)]
pub struct Surroundings {
    /// Socket for requests.
    #[arg(long)]
    pub control: PathBuf,
    /// File to which the output of the serial port is appended (default: standard output).
    #[arg(long)]
    pub serial: Option<PathBuf>,
    /// File with the content of a disk.
    #[arg(long)]
    pub disk: Option<PathBuf>,
    /// Socket that is connected to the guest's /dev/hvc0.
    #[arg(long)]
    pub console: Option<PathBuf>,
    /// File for a copy of the state at each suspend.
    #[arg(long)]
    pub state_copy: Option<PathBuf>,
}

#[derive(Args)]
pub struct SuspendOptions {
    /// The guest's control socket.
    #[arg(long)]
    pub control: PathBuf,
    /// The command that enters the next kernel.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Args)]
pub struct ResumeOptions {
    /// Name of the guest.
    #[arg(value_parser = check_name)]
    pub name: String,
    /// What the guest's clocks did while it was suspended (default: as it was started).
    #[arg(long, value_enum)]
    pub clock: Option<Policy>,
    /// Wait at most this many seconds for /dev/liveupdate. The guest goes on sooner if this program is
    /// started before the module is loaded.
    #[arg(long, default_value_t = 0)]
    pub wait: u64,
    /// Use this file in place of the state that was handed over.
    #[arg(long)]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub surroundings: Surroundings,
}
