// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of the running kernel: whether it can hand anything over.

use super::{Finding, Level};
use crate::facts::{has_word, Facts, Kho};
use crate::size;
use crate::source::Orchestrator;

/// Programs need the device to preserve a file.
pub(super) fn device(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: &str| Finding::new("device", level, message);
    vec![match facts.orchestrator {
        Orchestrator::Module => finding(Level::Good, "the module liveupdate is loaded"),
        Orchestrator::Kernel => finding(Level::Good, "this kernel has the C orchestrator"),
        Orchestrator::Absent => finding(
            Level::Loss,
            "this kernel has no live update, so no program can preserve a file",
        )
        .advice("load the module: \"modprobe liveupdate\" or \"insmod liveupdate.ko\""),
    }]
}

/// Without KHO, nothing crosses.
pub(super) fn kho(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: &str| Finding::new("kho", level, message);
    vec![match facts.kho {
        Kho::On(_) => finding(
            Level::Good,
            "this kernel has Kexec HandOver (KHO) switched on",
        ),
        Kho::Off if has_word(&facts.command_line, "kho=on") => finding(
            Level::Loss,
            "KHO is off although the command line has \"kho=on\"",
        )
        .advice(
            "see \"dmesg | grep KHO\": the kernel needs CONFIG_KEXEC_HANDOVER, and room for \
             kho_scratch=",
        ),
        Kho::Off => finding(
            Level::Loss,
            "KHO is off: the command line has no \"kho=on\"",
        )
        .advice("boot this kernel with \"kho=on\""),
        Kho::Hidden => finding(Level::Unknown, "only root can see whether KHO is on")
            .advice("run \"sudo lu check\""),
    }]
}

/// The next kernel boots in scratch memory.
pub(super) fn scratch(facts: &Facts) -> Vec<Finding> {
    let Kho::On(areas) = &facts.kho else {
        return Vec::new();
    };
    let finding = |level, message| Finding::new("scratch", level, message);
    let Some(largest) = areas.iter().max() else {
        return vec![finding(
            Level::Note,
            "the sizes of the scratch areas cannot be seen".to_owned(),
        )
        .advice("as root, with debugfs mounted and CONFIG_KEXEC_HANDOVER_DEBUGFS=y")];
    };
    // The kernel puts image and initramfs into scratch memory, where nothing is preserved.
    if let Some(image) = facts.image.as_ref().filter(|image| image.bytes > *largest) {
        return vec![finding(
            Level::Loss,
            format!(
                "the next kernel and its initramfs ({}) have no room in the largest scratch area \
                 ({})",
                size::bytes(image.bytes),
                size::bytes(*largest)
            ),
        )
        .advice("boot this kernel with larger areas: kho_scratch=LOW,GLOBAL,NODE")];
    }
    let sizes: Vec<_> = areas.iter().map(|bytes| size::bytes(*bytes)).collect();
    vec![finding(
        Level::Good,
        format!("scratch memory for the next boot: {}", sizes.join(", ")),
    )]
}
