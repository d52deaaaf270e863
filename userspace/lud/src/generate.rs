// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shell completions and man pages, for packages.

use crate::cli::{Cli, Generate, What};
use anyhow::{Context, Result};
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::fs;

/// Writes the files.
pub fn run(args: &Generate) -> Result<()> {
    let directory = &args.directory;
    let failed = || format!("cannot write to {}", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    match args.what {
        What::Man => clap_mangen::generate_to(Cli::command(), directory).with_context(failed),
        What::Completions => {
            for shell in Shell::value_variants() {
                clap_complete::generate_to(*shell, &mut Cli::command(), "lud", directory)
                    .with_context(failed)?;
            }
            Ok(())
        }
    }
}
