// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `lu kexec`: check, load, enter.

use crate::check::{self, Level};
use crate::cli;
use crate::root::Root;
use crate::source::Source;
use anstream::{eprint, eprintln, println};
use anyhow::{bail, Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A command shows that it is at work after this time.
const LONG: Duration = Duration::from_millis(500);

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words(Vec<OsString>);

impl Words {
    fn new<const N: usize>(words: [&str; N]) -> Self {
        Self(words.map(OsString::from).to_vec())
    }

    fn add(mut self, option: &str, value: impl Into<OsString>) -> Self {
        let mut word = OsString::from(option);
        word.push(value.into());
        self.0.push(word);
        self
    }

    /// As a shell takes it.
    fn quoted(&self) -> String {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|word| {
                let word = word.to_string_lossy();
                let plain =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/.,:+@%".contains(&byte);
                if !word.is_empty() && word.bytes().all(plain) {
                    word.into_owned()
                } else {
                    format!("'{}'", word.replace('\'', "'\\''"))
                }
            })
            .collect();
        words.join(" ")
    }

    fn start(&self) -> Result<Child> {
        let (program, arguments) = self.0.split_first().context("a command without words")?;
        tracing::debug!("run {}", self.quoted());
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                let program = program.to_string_lossy();
                let hint = if program == "kexec" {
                    ": is the package kexec-tools installed?"
                } else {
                    ""
                };
                format!("cannot run {program}{hint}")
            })
    }

    /// Runs the command to its end. Its own words are part of the error.
    fn run(&self, doing: &str) -> Result<()> {
        let mut child = self.start()?;
        // A child that prints more than a pipe holds waits for its reader.
        let reader = child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut words = Vec::new();
                let _ = stderr.read_to_end(&mut words);
                String::from_utf8_lossy(&words).into_owned()
            })
        });
        let begin = Instant::now();
        let mut progress = None;
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait")? {
                break status;
            }
            if begin.elapsed() >= LONG && progress.is_none() {
                progress = Some(spinner(doing));
            }
            thread::sleep(Duration::from_millis(20));
        };
        if let Some(progress) = progress {
            progress.finish_and_clear();
        }
        let words = reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default();
        if status.success() {
            eprint!("{words}");
            return Ok(());
        }
        bail!("\"{}\" failed ({status}): {}", self.quoted(), words.trim())
    }
}

/// On a terminal only.
fn spinner(doing: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(doing.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// The command that loads the image, if the arguments name one.
fn load(image: &cli::Image) -> Option<Words> {
    let kernel = image.kernel.as_ref()?;
    // -s: kexec_file_load(2). An image of kexec_load(2) hands nothing over.
    let mut words = Words::new(["kexec", "-s", "-l"]).add("", kernel);
    if let Some(initrd) = &image.initrd {
        words = words.add("--initrd=", initrd);
    }
    Some(match &image.command_line {
        Some(text) => words.add("--command-line=", text),
        None => words.add("--reuse-cmdline", ""),
    })
}

/// The command that enters it.
fn enter(root: &Root) -> Words {
    // As sd_booted(3). It stops the services first, and the file systems are clean.
    if root.exists("run/systemd/system") {
        return Words::new(["systemctl", "kexec"]);
    }
    // -x: the module can refuse the kexec, and then the network is needed.
    Words::new(["kexec", "-x", "-e"])
}

/// Checks, loads and enters.
pub fn run(root: &Root, source: &dyn Source, args: &cli::Kexec) -> Result<ExitCode> {
    let report = check::run(root, source, &args.image)?;
    let refused = report.result > Level::Note && !args.force;
    if refused || report.result > Level::Note {
        eprint!("{report}");
    }
    let load = load(&args.image);
    let enter = enter(root);
    if args.dry_run {
        for words in load.iter().chain([&enter]) {
            println!("{}", words.quoted());
        }
    }
    if refused {
        eprintln!("lu: nothing was loaded; --force goes on all the same");
        return Ok(ExitCode::from(report.result.exit_status()));
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(load) = load {
        load.run("loading the next kernel")?;
    }
    enter.run("entering the next kernel").context(
        "the kexec was refused, and everything is as before; \"dmesg | grep liveupdate\" says why",
    )?;
    // systemd returns at once, and goes down later.
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_image_is_loaded_by_kexec_file_load() {
        let image = cli::Image {
            kernel: Some(PathBuf::from("/boot/my kernel")),
            initrd: Some(PathBuf::from("/boot/initrd")),
            command_line: Some("kho=on it's".to_owned()),
            reuse_cmdline: false,
        };
        assert_eq!(
            load(&image).map(|words| words.quoted()).as_deref(),
            Some(
                "kexec -s -l '/boot/my kernel' --initrd=/boot/initrd \
                 '--command-line=kho=on it'\\''s'"
            )
        );
        assert_eq!(load(&cli::Image::default()), None);
    }
}
