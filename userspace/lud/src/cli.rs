// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line.

use crate::rules::Source;
use clap::{Args, Parser, Subcommand, ValueHint};
use generate::Generate;
use std::path::PathBuf;

/// Where the policy is unless the command line says otherwise.
pub const POLICY: &str = "/etc/lud.toml";

/// Own /dev/liveupdate, and hand its sessions to programs by a policy.
///
/// A service manager starts it: see lud.service. SIGHUP reads the policy again.
#[derive(Debug, Parser)]
#[command(name = "lud", version, max_term_width = 100)]
pub struct Cli {
    /// Log what each program asks for; twice for details
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// The policy
    #[arg(long, value_name = "FILE", default_value = POLICY, value_hint = ValueHint::FilePath)]
    pub policy: PathBuf,

    /// The socket for programs, unless the service manager passes one
    #[arg(long, value_name = "PATH", default_value = liveupdate::agent::Agent::PATH,
        value_hint = ValueHint::FilePath)]
    pub socket: PathBuf,

    /// The device
    #[arg(long, value_name = "PATH", default_value = liveupdate::Device::PATH,
        value_hint = ValueHint::FilePath)]
    pub device: PathBuf,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// Where the policy is. That of the default path need not exist.
    pub fn policy_source(&self) -> Source {
        Source {
            path: self.policy.clone(),
            optional: self.policy.as_os_str() == POLICY,
        }
    }
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with a policy
    CheckPolicy(CheckPolicy),
    /// Write shell completions or man pages
    #[command(hide = true)]
    Generate(Generate),
}

/// Arguments of `lud check-policy`.
#[derive(Debug, Args)]
pub struct CheckPolicy {
    /// The policy
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
