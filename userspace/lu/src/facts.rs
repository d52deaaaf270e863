// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `lu check` looks at. The checks themselves read no files.

use crate::image::Image;
use crate::lists::{Flb, Handler, Session};
use crate::process::{self, Holders};
use crate::report;
use crate::root::Root;
use crate::source::{debugfs_mounted, Orchestrator, Source, Unavailable};

/// The lists of the module.
#[derive(Debug)]
pub struct Lists {
    /// All sessions.
    pub sessions: Vec<Session>,
    /// All handlers.
    pub handlers: Vec<Handler>,
    /// All FLBs.
    pub flbs: Vec<Flb>,
}

/// KHO in this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kho {
    /// It is on, with scratch areas of these sizes in bytes.
    On(Vec<u64>),
    /// It is off.
    Off,
    /// Only root can see it.
    Hidden,
}

/// Everything that the checks look at.
#[derive(Debug)]
pub struct Facts {
    /// What this kernel has for live update.
    pub orchestrator: Orchestrator,
    /// The command line of this kernel.
    pub command_line: String,
    /// Whether KHO is on.
    pub kho: Kho,
    /// Whether an image is loaded, if this kernel has kexec.
    pub image_loaded: Option<bool>,
    /// Whether an administrator has forbidden to load images.
    pub loading_disabled: bool,
    /// Whether `kexec_load(2)` is forbidden, so that each image came by `kexec_file_load(2)`.
    pub only_file_load: bool,
    /// The image that shall be loaded, if it is not the loaded one that is checked.
    pub image: Option<Image>,
    /// The lists, or why they cannot be had.
    pub lists: Result<Lists, Unavailable>,
    /// The processes that hold sessions.
    pub holders: Holders,
}

impl Facts {
    /// Looks.
    pub fn gather(root: &Root, source: &dyn Source, image: Option<Image>) -> Self {
        let orchestrator = Orchestrator::find(root);
        let command_line = root.read("proc/cmdline").unwrap_or_default();
        Self {
            orchestrator,
            kho: kho(root, orchestrator, &command_line),
            command_line,
            image_loaded: report::image_loaded(root),
            loading_disabled: root
                .read("proc/sys/kernel/kexec_load_disabled")
                .is_ok_and(|text| text.trim() == "1"),
            only_file_load: locked_down(root),
            image,
            lists: lists(source),
            holders: process::holders(root),
        }
    }
}

fn lists(source: &dyn Source) -> Result<Lists, Unavailable> {
    Ok(Lists {
        sessions: source.sessions()?,
        handlers: source.handlers()?,
        flbs: source.flbs()?,
    })
}

/// `kexec_load(2)` fails on a kernel that is locked down: it has no signature to verify.
fn locked_down(root: &Root) -> bool {
    root.read("sys/kernel/security/lockdown")
        .is_ok_and(|text| text.contains("[integrity]") || text.contains("[confidentiality]"))
}

fn kho(root: &Root, orchestrator: Orchestrator, command_line: &str) -> Kho {
    if let Ok(text) = root.read("sys/kernel/debug/kho/out/scratch_len") {
        return Kho::On(
            text.lines()
                .filter_map(|line| u64::from_str_radix(line.strip_prefix("0x")?, 16).ok())
                .collect(),
        );
    }
    // The device exists only if KHO is on. Its debugfs is an option of the kernel.
    if orchestrator != Orchestrator::Absent {
        return Kho::On(Vec::new());
    }
    // Only root can read debugfs.
    let visible = debugfs_mounted(root) && std::fs::read_dir(root.path("sys/kernel/debug")).is_ok();
    if visible || !has_word(command_line, "kho=on") {
        Kho::Off
    } else {
        Kho::Hidden
    }
}

/// Whether the command line has that word.
pub fn has_word(command_line: &str, word: &str) -> bool {
    command_line.split_whitespace().any(|it| it == word)
}
