// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The subcommand `generate` of the programs: shell completions and man pages, for packages.

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, ValueEnum, ValueHint};
use clap_complete::Shell;
use std::fs;
use std::path::PathBuf;

/// Arguments of the subcommand.
#[derive(Debug, Args)]
pub struct Generate {
    /// What to write
    pub what: What,

    /// The directory for it
    #[arg(value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// What can be written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum What {
    /// One page for the program, and one for each subcommand
    Man,
    /// For bash, zsh, fish and others
    Completions,
}

/// Writes the files of the program whose command line is `Cli`.
///
/// # Errors
///
/// Those of creating the directory, and of writing to it.
pub fn run<Cli: CommandFactory>(args: &Generate) -> Result<()> {
    let directory = &args.directory;
    let failed = || format!("cannot write to {}", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    match args.what {
        What::Man => clap_mangen::generate_to(Cli::command(), directory).with_context(failed),
        What::Completions => {
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            for shell in Shell::value_variants() {
                clap_complete::generate_to(*shell, &mut command, &name, directory)
                    .with_context(failed)?;
            }
            Ok(())
        }
    }
}
