// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a guest's memory is, for tests: the page frame of each page that it has.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const PAGE: u64 = 4096;
const MIN_SIZE: u64 = 16 << 20;
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// Finds the memory of the guest that process `pid` runs.
fn memory_of(pid: u32) -> Result<File> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    for entry in std::fs::read_dir(&folder).context("no such process")? {
        let path = entry?.path();
        // A memfd has no name in any folder; one from another kernel has none at all.
        let target = std::fs::read_link(&path).unwrap_or_default();
        if !target.to_string_lossy().ends_with(" (deleted)") {
            continue;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
            continue;
        };
        if file.metadata()?.len() >= MIN_SIZE {
            return Ok(file);
        }
    }
    anyhow::bail!("process {pid} has no guest memory")
}

/// Prints "page frame" for each page of the memory that is not a hole.
pub fn print(pid: u32) -> Result<()> {
    let file = memory_of(pid)?;
    let pagemap = File::open("/proc/self/pagemap").context("cannot open pagemap")?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // Reading a hole through the mapping would fill it.
    for part in liveupdate::memory::data(file.as_fd())? {
        let std::ops::Range { start: begin, end } = part?;
        let length = (end - begin) as usize;
        let offset = Some(FileOffset::new(file.try_clone()?, begin));
        let map =
            GuestMemoryMmap::<()>::from_ranges_with_files([(GuestAddress(begin), length, offset)])?;
        for region in map.iter() {
            for page in (begin..end).step_by(PAGE as usize) {
                let _: u8 = map.read_obj(GuestAddress(page))?;
                let mut entry = [0; 8];
                let address = region.as_ptr() as u64 + (page - begin);
                pagemap.read_exact_at(&mut entry, address / PAGE * 8)?;
                let entry = u64::from_le_bytes(entry);
                ensure!(entry & PRESENT != 0, "page {page:#x} is not present");
                writeln!(out, "{} {:#x}", page / PAGE, entry & FRAME)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
