// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a bzImage finds in memory and registers when it is entered at its 64-bit entry
//! ([`Documentation/arch/x86/boot.rst`](srctree/Documentation/arch/x86/boot.rst)).
//!
//! ```text
//! 0x0500     GDT
//! 0x7000     zero page (struct boot_params)
//! 0x9000     page tables: the first 4 GiB, one to one
//! 0x20000    command line
//! 0x9fc00    MP table
//! 0x100000   kernel
//!  ...       initramfs, at the end of RAM
//! ```

use std::fs::File;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use kvm_bindings::{kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::{BzImage, KernelLoader};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::mptable;

const GDT: u64 = 0x500;
const ZERO_PAGE: u64 = 0x7000;
const PML4: u64 = 0x9000;
const COMMAND_LINE: u64 = 0x20000;
const COMMAND_LINE_ROOM: usize = 4096;
const HIGH_MEMORY: u64 = 0x10_0000;

const E820_RAM: u32 = 1;
/// `type_of_loader` of a boot loader without a number.
const LOADER_UNKNOWN: u8 = 0xff;
const ENTRY_64: u64 = 0x200;
const XLF_KERNEL_64: u16 = 1;

const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// Loads kernel and initramfs, and returns the address at which the first vCPU begins.
pub fn load(
    memory: &GuestMemoryMmap,
    ram_bytes: u64,
    vcpus: u8,
    kernel: &Path,
    initrd: Option<&Path>,
    command_line: &str,
) -> Result<u64> {
    let mut image =
        File::open(kernel).with_context(|| format!("cannot open {}", kernel.display()))?;
    let loaded = BzImage::load(memory, None, &mut image, Some(GuestAddress(HIGH_MEMORY)))
        .with_context(|| format!("cannot load the bzImage {}", kernel.display()))?;
    let mut params = boot_params {
        hdr: loaded
            .setup_header
            .context("the kernel has no setup header")?,
        ..Default::default()
    };
    let flags = params.hdr.xloadflags;
    ensure!(
        flags & XLF_KERNEL_64 != 0,
        "{} has no 64-bit entry",
        kernel.display()
    );
    params.hdr.type_of_loader = LOADER_UNKNOWN;

    ensure!(
        command_line.len() < COMMAND_LINE_ROOM,
        "the kernel command line is longer than {} bytes",
        COMMAND_LINE_ROOM - 1
    );
    memory.write_slice(command_line.as_bytes(), GuestAddress(COMMAND_LINE))?;
    memory.write_obj(0_u8, GuestAddress(COMMAND_LINE + command_line.len() as u64))?;
    params.hdr.cmd_line_ptr = COMMAND_LINE as u32;
    params.hdr.cmdline_size = command_line.len() as u32;

    if let Some(path) = initrd {
        let (address, size) = load_initrd(memory, ram_bytes, loaded.kernel_end, path)?;
        params.hdr.ramdisk_image = address;
        params.hdr.ramdisk_size = size;
    }
    let ranges = [(0, mptable::START), (HIGH_MEMORY, ram_bytes - HIGH_MEMORY)];
    for (entry, (addr, size)) in params.e820_table.iter_mut().zip(ranges) {
        *entry = boot_e820_entry {
            addr,
            size,
            r#type: E820_RAM,
        };
    }
    params.e820_entries = ranges.len() as u8;
    memory.write_obj(params, GuestAddress(ZERO_PAGE))?;
    mptable::write(memory, vcpus)?;
    write_tables(memory)?;
    Ok(loaded.kernel_load.0 + ENTRY_64)
}

/// Reads the initramfs to the end of RAM, away from where the kernel unpacks itself.
fn load_initrd(
    memory: &GuestMemoryMmap,
    ram_bytes: u64,
    kernel_end: u64,
    path: &Path,
) -> Result<(u32, u32)> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata()?.len();
    let address = ram_bytes
        .checked_sub(size)
        .map(|address| address & !0xfff)
        .filter(|address| *address > kernel_end)
        .with_context(|| format!("{} does not fit into the guest's memory", path.display()))?;
    memory
        .read_exact_volatile_from(GuestAddress(address), &mut file, size as usize)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok((address as u32, size as u32))
}

/// A flat segment as the boot protocol asks for: `selector` 0x10 for code, 0x18 for data.
fn segment(selector: u16) -> kvm_segment {
    let code = selector == 0x10;
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: if code { 0xb } else { 0x3 },
        present: 1,
        dpl: 0,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        ..Default::default()
    }
}

/// The same segment as an entry of the GDT.
fn descriptor(segment: &kvm_segment) -> u64 {
    let access = u64::from(segment.type_)
        | u64::from(segment.s) << 4
        | u64::from(segment.dpl) << 5
        | u64::from(segment.present) << 7;
    let flags = u64::from(segment.l) << 1 | u64::from(segment.db) << 2 | u64::from(segment.g) << 3;
    0xffff | access << 40 | 0xf << 48 | flags << 52
}

fn write_tables(memory: &GuestMemoryMmap) -> Result<()> {
    for (index, entry) in [0, 0, descriptor(&segment(0x10)), descriptor(&segment(0x18))]
        .into_iter()
        .enumerate()
    {
        memory.write_obj(entry, GuestAddress(GDT + 8 * index as u64))?;
    }
    // Present and writable; an entry of the third level maps 2 MiB (bit 7).
    memory.write_obj((PML4 + 0x1000) | 3, GuestAddress(PML4))?;
    for gib in 0..4_u64 {
        let directory = PML4 + 0x2000 + gib * 0x1000;
        memory.write_obj(directory | 3, GuestAddress(PML4 + 0x1000 + 8 * gib))?;
        for entry in 0..512_u64 {
            memory.write_obj(
                (gib << 30) | (entry << 21) | 0x83,
                GuestAddress(directory + 8 * entry),
            )?;
        }
    }
    Ok(())
}

/// Sets the registers of the first vCPU. The others wait for the guest to start them.
pub fn set_registers(vcpu: &VcpuFd, entry: u64) -> Result<()> {
    let mut sregs = vcpu.get_sregs()?;
    sregs.cs = segment(0x10);
    let data = segment(0x18);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.gdt.base = GDT;
    sregs.gdt.limit = 4 * 8 - 1;
    sregs.cr0 |= CR0_PE | CR0_PG;
    sregs.cr3 = PML4;
    sregs.cr4 |= CR4_PAE;
    sregs.efer |= EFER_LME | EFER_LMA;
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs {
        rflags: 2,
        rip: entry,
        rsi: ZERO_PAGE,
        ..Default::default()
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_the_boot_protocol() {
        assert_eq!(descriptor(&segment(0x10)), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(&segment(0x18)), 0x00cf_9300_0000_ffff);
    }

    #[test]
    fn page_tables_map_one_to_one() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        write_tables(&memory).unwrap();
        let address = 0xfee0_1234_u64;
        let read = |table: u64, index: u64| -> u64 {
            memory.read_obj(GuestAddress(table + 8 * index)).unwrap()
        };
        let pdpt = read(PML4, 0) & !0xfff;
        let directory = read(pdpt, address >> 30) & !0xfff;
        let page = read(directory, (address >> 21) & 511);
        assert_eq!(page & 0x80, 0x80);
        assert_eq!(page & !0x1f_ffff, address & !0x1f_ffff);
    }

    #[test]
    fn kernels_that_are_none_are_refused() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 << 20)]).unwrap();
        for path in ["/dev/null", "/proc/self/exe", "/nonexistent"] {
            assert!(load(&memory, 16 << 20, 1, Path::new(path), None, "").is_err());
        }
    }
}
