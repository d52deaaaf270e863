// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks of the image that the kexec enters.

use super::{Finding, Level};
use crate::facts::{has_word, Facts};
use crate::source::Orchestrator;

/// Whether an image is loaded, or can be.
pub(super) fn image(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: &str| Finding::new("image", level, message);
    if facts.image_loaded.is_none() {
        return vec![finding(
            Level::Unknown,
            "the kernel does not say whether an image is loaded",
        )
        .advice("boot a kernel with CONFIG_KEXEC_FILE=y, and mount sysfs")];
    }
    // Another image is about to be loaded.
    if facts.image.is_some() {
        if facts.loading_disabled {
            return vec![finding(
                Level::Loss,
                "images cannot be loaded: kernel.kexec_load_disabled is 1",
            )
            .advice("only a boot through the firmware resets that")];
        }
        return Vec::new();
    }
    if facts.image_loaded == Some(false) {
        let missing = finding(Level::Loss, "no image is loaded: there is no next kernel");
        let advice = if facts.loading_disabled {
            "kernel.kexec_load_disabled is 1, which only a boot through the firmware resets"
        } else {
            "load one: \"kexec -s -l KERNEL --initrd=INITRAMFS --reuse-cmdline\", or let \
             \"lu kexec --kernel\" do it"
        };
        return vec![missing.advice(advice)];
    }
    let mut findings = vec![finding(Level::Good, "an image is loaded")];
    if !facts.only_file_load {
        let why = match facts.orchestrator {
            Orchestrator::Module => {
                "the kernel does not tell whether \"kexec -s\" has loaded the image: if not, the \
                 module refuses the kexec as long as there are sessions"
            }
            _ => {
                "the kernel does not tell whether \"kexec -s\" has loaded the image: if not, the \
                 kexec happens, and everything is lost"
            }
        };
        findings.push(
            finding(Level::Note, why).advice("if in doubt, load it again with \"kexec -s -l\""),
        );
    }
    findings
}

/// What is known of the next kernel.
pub(super) fn next_kernel(facts: &Facts) -> Vec<Finding> {
    let finding = |level, message: String| Finding::new("next", level, message);
    let Some(image) = &facts.image else {
        if facts.image_loaded != Some(true) {
            return Vec::new();
        }
        return vec![finding(
            Level::Note,
            "the command line of a loaded image cannot be read: it must have \"kho=on\"".to_owned(),
        )
        .advice(
            "\"lu check --kernel PATH --command-line TEXT\" checks an image before it is loaded",
        )];
    };
    let mut findings = Vec::new();
    let name = image
        .version
        .clone()
        .unwrap_or_else(|| image.kernel.display().to_string());
    if image.relocatable == Some(false) {
        findings.push(
            finding(
                Level::Loss,
                format!("{name} cannot be loaded by kexec_file_load: it is not relocatable"),
            )
            .advice("build it with CONFIG_RELOCATABLE=y"),
        );
    }
    if image.has_option("CONFIG_KEXEC_HANDOVER") == Some(false) {
        findings.push(
            finding(Level::Loss, format!("{name} has no KHO"))
                .advice("build it with CONFIG_KEXEC_HANDOVER=y"),
        );
    }
    // The last word counts. Some kernels have KHO on without any.
    let asked = image
        .command_line
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("kho="));
    let by_default = image.has_option("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT") == Some(true);
    let on = asked.map_or(by_default, |value| matches!(value, "on" | "1" | "y" | "Y"));
    if !on {
        findings.push(
            finding(
                Level::Loss,
                "the command line of the next kernel does not have \"kho=on\"".to_owned(),
            )
            .advice("add it to --command-line"),
        );
    }
    let in_kernel = image.has_option("CONFIG_LIVEUPDATE");
    if in_kernel == Some(true) {
        if !has_word(&image.command_line, "liveupdate=on") {
            findings.push(
                finding(
                    Level::Loss,
                    format!(
                        "{name} has the C orchestrator, and its command line does not have \
                         \"liveupdate=on\""
                    ),
                )
                .advice("add it to --command-line"),
            );
        }
    } else if image.has_module("liveupdate") == Some(false) && in_kernel == Some(false) {
        findings.push(
            finding(
                Level::Loss,
                format!("{name} has neither the C orchestrator nor the module liveupdate"),
            )
            .advice(format!(
                "build the module for it, or install it to /lib/modules/{name}"
            )),
        );
    }
    if findings.is_empty() {
        findings.push(finding(
            Level::Good,
            format!("nothing is known against the next kernel, {name}"),
        ));
    }
    findings
}
