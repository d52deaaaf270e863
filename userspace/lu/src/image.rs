// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The next kernel: what its file and this system say of it.

use crate::cli;
use crate::root::Root;
use anyhow::{ensure, Context, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The boot protocol of x86: the magic is here, and 12 bytes after it the place of the version.
const MAGIC: usize = 0x202;
const VERSION: usize = 0x20e;
const RELOCATABLE: usize = 0x234;
/// The version is in the setup code, which is at most 64 sectors after the first.
const SETUP: u64 = 65 * 512;

/// An image that is to be loaded.
#[derive(Debug)]
pub struct Image {
    /// Its file.
    pub kernel: PathBuf,
    /// The command line that the next kernel gets.
    pub command_line: String,
    /// Its version, if it is a bzImage.
    pub version: Option<String>,
    /// Whether it can be loaded anywhere, which `kexec_file_load(2)` asks for.
    pub relocatable: Option<bool>,
    /// The lines of its configuration, if /boot or /lib/modules has that.
    pub config: Option<Vec<String>>,
    /// The files of its modules; [`None`] if it has no directory in /lib/modules.
    pub modules: Option<Vec<String>>,
    /// The bytes of the image and of its initramfs.
    pub bytes: u64,
}

impl Image {
    /// Looks at the image that the arguments name, if they name one.
    pub fn find(root: &Root, args: &cli::Image) -> Result<Option<Self>> {
        let Some(kernel) = &args.kernel else {
            return Ok(None);
        };
        let command_line = match &args.command_line {
            Some(text) => text.clone(),
            None => root
                .read("proc/cmdline")
                .context("cannot read /proc/cmdline")?,
        };
        let header = header(kernel)
            .with_context(|| format!("cannot read the kernel {}", kernel.display()))?;
        let mut bytes = size(kernel)?;
        if let Some(initrd) = &args.initrd {
            bytes += size(initrd)
                .with_context(|| format!("cannot read the initramfs {}", initrd.display()))?;
        }
        let version = version(&header);
        Ok(Some(Self {
            kernel: kernel.clone(),
            command_line: command_line.trim().to_owned(),
            relocatable: is_bzimage(&header).then(|| header.get(RELOCATABLE) == Some(&1)),
            config: version.as_deref().and_then(|version| config(root, version)),
            modules: version
                .as_deref()
                .and_then(|version| modules(root, version)),
            version,
            bytes,
        }))
    }

    /// Whether an option is built into it; [`None`] if its configuration is not known.
    pub fn has_option(&self, option: &str) -> Option<bool> {
        let line = format!("{option}=y");
        Some(self.config.as_ref()?.contains(&line))
    }

    /// Whether it has a module of that name; [`None`] if its modules are not known.
    pub fn has_module(&self, name: &str) -> Option<bool> {
        Some(self.modules.as_ref()?.iter().any(|it| it == name))
    }
}

fn size(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path)?;
    ensure!(metadata.is_file(), "it is not a file");
    Ok(metadata.len())
}

fn header(path: &Path) -> Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(SETUP).read_to_end(&mut header)?;
    Ok(header)
}

fn is_bzimage(header: &[u8]) -> bool {
    header.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// The version of a bzImage: the first word of a text that ends with NUL.
fn version(header: &[u8]) -> Option<String> {
    if !is_bzimage(header) {
        return None;
    }
    let place = header.get(VERSION..VERSION + 2)?;
    let place = u16::from_le_bytes(place.try_into().ok()?);
    let text = header.get(usize::from(place) + 0x200..)?;
    let word = text
        .split(|byte| !byte.is_ascii_graphic())
        .next()
        .unwrap_or_default();
    // It becomes part of a path.
    let plain = word
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._+~-".contains(byte));
    (plain && word.first()?.is_ascii_digit()).then(|| String::from_utf8_lossy(word).into_owned())
}

fn config(root: &Root, version: &str) -> Option<Vec<String>> {
    let text = [
        format!("boot/config-{version}"),
        format!("lib/modules/{version}/config"),
    ]
    .iter()
    .find_map(|name| root.read(name).ok())?;
    Some(text.lines().map(str::to_owned).collect())
}

/// The names of all modules of a kernel, with underscores as the kernel has them.
fn modules(root: &Root, version: &str) -> Option<Vec<String>> {
    let top = root.path(format!("lib/modules/{version}"));
    let mut directories = vec![top.clone()];
    let mut names = Vec::new();
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            if directory == top {
                return None;
            }
            continue;
        };
        for entry in entries.flatten() {
            // "build" and "source" are links out of the directory.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            } else if let Some(name) = entry.file_name().to_str() {
                if let Some((name, "ko" | "ko.xz" | "ko.zst" | "ko.gz")) = name.split_once('.') {
                    names.push(name.replace('-', "_"));
                }
            }
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The beginning of a bzImage with that version text.
    pub fn bzimage(version: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in header.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(MAGIC, b"HdrS");
        put(VERSION, &0x100_u16.to_le_bytes());
        put(RELOCATABLE, &[1]);
        put(0x300, version);
        header
    }

    #[test]
    fn a_bzimage_tells_its_version() {
        let of = |text: &[u8]| version(&bzimage(text));
        assert_eq!(
            of(b"7.3.4-rust (root@h) #1 SMP\0").as_deref(),
            Some("7.3.4-rust")
        );
        assert_eq!(of(b"../../etc/passwd\0"), None);
        assert_eq!(of(b"7/../x\0"), None);
        assert_eq!(of(b"\0"), None);
        assert_eq!(version(b"\x7fELF"), None);
    }

    proptest! {
        #[test]
        fn no_image_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..0x300), magic in any::<bool>()) {
            if magic && bytes.len() > MAGIC + 4 {
                for (to, from) in bytes.iter_mut().skip(MAGIC).zip(b"HdrS") {
                    *to = *from;
                }
            }
            let _ = version(&bytes);
        }
    }
}
