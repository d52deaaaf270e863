// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line.

use clap::{Args, Parser, Subcommand, ValueHint};
use generate::Generate;
use std::path::PathBuf;

/// Show what a kexec carries to the next kernel, check that it can, and enter it.
///
/// Sessions of /dev/liveupdate are named sets of files that are preserved across kexec. Root can
/// see them all.
#[derive(Debug, Parser)]
#[command(name = "lu", version, max_term_width = 100)]
pub struct Cli {
    /// Say on standard error what is being done; twice for every file that is read
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Look at the files below this directory instead of /
    #[arg(long, hide = true, global = true, default_value = "/", value_hint = ValueHint::DirPath)]
    pub root: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Summarize: the orchestrator, outgoing sessions, and incoming ones that are not finished
    Status(Output),
    /// List all sessions, with their holders, size and pieces of memory
    Ls(Output),
    /// Show one session, with its files as far as a process holds it
    Show(Show),
    /// List the handlers of files, and the objects bound to files (FLBs)
    Handlers(Output),
    /// Check whether a kexec would carry everything
    ///
    /// Changes nothing. The exit status is 0 if it would, 1 if something would be lost, and 2 if
    /// something that matters could not be looked at.
    Check(Check),
    /// Check, load the next kernel, and enter it
    ///
    /// Without --kernel, the image that is loaded is entered. Runs "kexec", and "systemctl kexec"
    /// where systemd is process 1. If a finding of "lu check" says that something would be lost,
    /// nothing is loaded and the exit status is that of "lu check".
    Kexec(Kexec),
    /// Write shell completions or man pages
    #[command(hide = true)]
    Generate(Generate),
}

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON; the README of lu lists the fields
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lu show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Its name, with \xNN for bytes that "lu ls" prints so
    pub session: String,

    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `lu check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The image to check instead of the one that is loaded.
    #[command(flatten)]
    pub image: Image,

    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// An image that is not loaded yet.
#[derive(Debug, Default, Args)]
pub struct Image {
    /// The image of the next kernel, instead of the one that is loaded
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, requires = "text")]
    pub kernel: Option<PathBuf>,

    /// Its initramfs
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, requires = "kernel")]
    pub initrd: Option<PathBuf>,

    /// Its command line
    #[arg(long, value_name = "TEXT", group = "text", requires = "kernel")]
    pub command_line: Option<String>,

    /// Take the command line of this kernel
    #[arg(long, group = "text", requires = "kernel")]
    pub reuse_cmdline: bool,
}

/// Arguments of `lu kexec`.
#[derive(Debug, Args)]
pub struct Kexec {
    /// What to load.
    #[command(flatten)]
    pub image: Image,

    /// Print the commands, and run none
    #[arg(long)]
    pub dry_run: bool,

    /// Go on although something would be lost, or could not be looked at
    #[arg(long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_image_needs_a_command_line() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).is_ok();
        assert!(parse(&["lu", "kexec"]));
        assert!(parse(&["lu", "kexec", "--kernel", "k", "--reuse-cmdline"]));
        assert!(parse(&[
            "lu",
            "kexec",
            "--kernel",
            "k",
            "--command-line",
            "kho=on"
        ]));
        assert!(!parse(&["lu", "kexec", "--kernel", "k"]));
        assert!(!parse(&["lu", "kexec", "--reuse-cmdline"]));
        assert!(!parse(&["lu", "kexec", "--initrd", "i"]));
        let both = [
            "lu",
            "kexec",
            "--kernel",
            "k",
            "--reuse-cmdline",
            "--command-line",
            "x",
        ];
        assert!(!parse(&both));
    }
}
