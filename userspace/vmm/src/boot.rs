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
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use kvm_bindings::{kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::mptable;

const GDT: u64 = 0x500;
const ZERO_PAGE: u64 = 0x7000;
const PML4: u64 = 0x9000;
const COMMAND_LINE: u64 = 0x20000;
/// Size of the command line in bytes, with a zero at its end.
const COMMAND_LINE_SIZE: usize = 4096;
const HIGH_MEMORY: u64 = 0x10_0000;

const ENTRY_64: u64 = 0x200;

/// Offsets in the zero page. Up to [`HEADER_LIMIT`], those of the setup header are the same
/// in the file.
const E820_ENTRIES: usize = 0x1e8;
const HEADER: usize = 0x1f1;
const SETUP_SECTORS: usize = 0x1f1;
const HEADER_JUMP: usize = 0x201;
const HEADER_MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const COMMAND_LINE_POINTER: usize = 0x228;
const XLOADFLAGS: usize = 0x236;
const PREFERRED_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
const HEADER_LIMIT: usize = 0x290;
const E820_TABLE: usize = 0x2d0;
const PAGE: usize = 4096;

const E820_RAM: u32 = 1;
/// `type_of_loader` of a boot loader without a number.
const LOADER_UNKNOWN: u8 = 0xff;
/// The first version of the boot protocol with `xloadflags`.
const VERSION_2_12: u16 = 0x20c;
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;

const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// The zero page, `struct boot_params`, in which the kernel finds what it is told.
struct ZeroPage([u8; PAGE]);

impl ZeroPage {
    /// Copies the setup header of a kernel. `head` is the beginning of the file.
    fn of(head: &[u8; PAGE]) -> Result<Self> {
        let kernel = Self(*head);
        ensure!(
            kernel.get(HEADER_MAGIC) == *b"HdrS"
                && u16::from_le_bytes(kernel.get(VERSION)) >= VERSION_2_12
                && kernel.get::<1>(LOADFLAGS)[0] & LOADED_HIGH != 0,
            "not a bzImage of Linux 3.8 or later"
        );
        ensure!(
            u16::from_le_bytes(kernel.get(XLOADFLAGS)) & XLF_KERNEL_64 != 0,
            "it has no 64-bit entry"
        );
        // The jump at the beginning of the header says where the header ends.
        let [jump] = kernel.get(HEADER_JUMP);
        let end = (HEADER_MAGIC + usize::from(jump)).min(HEADER_LIMIT);
        let mut page = Self([0; PAGE]);
        for (to, from) in page.0.iter_mut().zip(head).take(end).skip(HEADER) {
            *to = *from;
        }
        page.set(TYPE_OF_LOADER, &[LOADER_UNKNOWN]);
        Ok(page)
    }

    /// The `N` bytes at `offset`, which is one of the constants above.
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.copied().unwrap_or([0; N])
    }

    fn set(&mut self, offset: usize, value: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(offset).zip(value) {
            *to = *from;
        }
    }

    /// Where the protected-mode kernel begins in the file.
    fn kernel_offset(&self) -> u64 {
        let [sectors] = self.get(SETUP_SECTORS);
        // The protocol says that 0 means 4. One more is the boot sector.
        let sectors = if sectors == 0 { 4 } else { u64::from(sectors) };
        512 * (sectors + 1)
    }

    /// Sets the memory map: start and length of each range of RAM.
    fn set_ram(&mut self, ranges: &[(u64, u64)]) {
        for (index, (start, length)) in ranges.iter().enumerate() {
            let at = E820_TABLE + 20 * index;
            self.set(at, &start.to_le_bytes());
            self.set(at + 8, &length.to_le_bytes());
            self.set(at + 16, &E820_RAM.to_le_bytes());
        }
        self.set(E820_ENTRIES, &[ranges.len() as u8]);
    }
}

/// Reads the protected-mode kernel to [`HIGH_MEMORY`]. Returns the zero page with its setup
/// header, and where the memory ends in which it unpacks itself.
fn load_kernel(memory: &GuestMemoryMmap, path: &Path) -> Result<(ZeroPage, u64)> {
    let mut file = File::open(path).context("cannot open it")?;
    let mut head = [0; PAGE];
    file.read_exact_at(&mut head, 0).context("cannot read it")?;
    let page = ZeroPage::of(&head)?;
    let size = file.metadata()?.len().checked_sub(page.kernel_offset());
    let size = size.context("the file ends before the kernel")?;
    file.seek(SeekFrom::Start(page.kernel_offset()))?;
    memory
        .read_exact_volatile_from(GuestAddress(HIGH_MEMORY), &mut file, size as usize)
        .context("cannot read it into the guest's memory")?;
    // It unpacks itself at the address that it prefers, which is not lower.
    let begin = HIGH_MEMORY.max(u64::from_le_bytes(page.get(PREFERRED_ADDRESS)));
    let unpacked = u64::from(u32::from_le_bytes(page.get(INIT_SIZE)));
    let end = begin.saturating_add(unpacked).max(HIGH_MEMORY + size);
    Ok((page, end))
}

/// Loads kernel and initramfs, and returns the address at which the first vCPU begins.
pub fn load(
    memory: &GuestMemoryMmap,
    ram_bytes: u64,
    vcpus: u8,
    kernel: &Path,
    initrd: Option<&Path>,
    command_line: &str,
) -> Result<u64> {
    let (mut page, kernel_end) = load_kernel(memory, kernel)
        .with_context(|| format!("cannot load the kernel {}", kernel.display()))?;

    ensure!(
        kernel_end <= ram_bytes,
        "the kernel needs {kernel_end} bytes of memory to unpack itself"
    );
    ensure!(
        command_line.len() < COMMAND_LINE_SIZE,
        "the kernel command line is longer than {} bytes",
        COMMAND_LINE_SIZE - 1
    );
    memory.write_slice(command_line.as_bytes(), GuestAddress(COMMAND_LINE))?;
    memory.write_obj(0_u8, GuestAddress(COMMAND_LINE + command_line.len() as u64))?;
    page.set(COMMAND_LINE_POINTER, &(COMMAND_LINE as u32).to_le_bytes());

    if let Some(path) = initrd {
        let (address, size) = load_initrd(memory, ram_bytes, kernel_end, path)?;
        page.set(RAMDISK_IMAGE, &address.to_le_bytes());
        page.set(RAMDISK_SIZE, &size.to_le_bytes());
    }
    page.set_ram(&[(0, mptable::START), (HIGH_MEMORY, ram_bytes - HIGH_MEMORY)]);
    memory.write_slice(&page.0, GuestAddress(ZERO_PAGE))?;
    mptable::write(memory, vcpus)?;
    write_tables(memory)?;
    Ok(HIGH_MEMORY + ENTRY_64)
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

    /// The head of a kernel that is entered as this program does it.
    fn head() -> ZeroPage {
        let mut head = ZeroPage([0; PAGE]);
        head.set(0, &[0xaa; PAGE]);
        head.set(SETUP_SECTORS, &[2]);
        head.set(HEADER_JUMP, &[0x6a]);
        head.set(HEADER_MAGIC, b"HdrS");
        head.set(VERSION, &VERSION_2_12.to_le_bytes());
        head.set(LOADFLAGS, &[LOADED_HIGH]);
        head.set(XLOADFLAGS, &XLF_KERNEL_64.to_le_bytes());
        head.set(PREFERRED_ADDRESS, &0x20_0000_u64.to_le_bytes());
        head.set(INIT_SIZE, &0x30_0000_u32.to_le_bytes());
        head
    }

    #[test]
    fn only_the_setup_header_is_copied() {
        let page = ZeroPage::of(&head().0).unwrap();
        assert_eq!(page.get(HEADER - 1), [0]);
        assert_eq!(page.get(0x26b), [0xaa]);
        assert_eq!(page.get(0x26c), [0]);
        assert_eq!(page.get(TYPE_OF_LOADER), [LOADER_UNKNOWN]);
        assert_eq!(page.kernel_offset(), 3 * 512);
    }

    #[test]
    fn kernels_that_cannot_be_entered_are_refused() {
        let refused = |offset: usize, value: &[u8]| {
            let mut head = head();
            head.set(offset, value);
            ZeroPage::of(&head.0).is_err()
        };
        assert!(!refused(0, &[0]));
        assert!(refused(HEADER_MAGIC, b"hdrS"));
        assert!(refused(VERSION, &0x20b_u16.to_le_bytes()));
        assert!(refused(LOADFLAGS, &[0]));
        assert!(refused(XLOADFLAGS, &[0, 0]));
    }

    #[test]
    fn a_kernel_in_memory() {
        let path = std::env::temp_dir().join(format!("vmm-kernel-{}", std::process::id()));
        std::fs::write(&path, [&head().0[..], &[7; 100]].concat()).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 << 20)]).unwrap();
        let loaded = load_kernel(&memory, &path);
        let entry = load(&memory, 16 << 20, 1, &path, Some(&path), "quiet");
        let small = load(&memory, 4 << 20, 1, &path, None, "quiet");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(loaded.unwrap().1, 0x50_0000);
        assert_eq!(entry.unwrap(), HIGH_MEMORY + ENTRY_64);
        assert!(small.is_err());
        let last = HIGH_MEMORY + PAGE as u64 + 100 - 3 * 512 - 1;
        let byte = |address| memory.read_obj::<u8>(GuestAddress(address)).unwrap();
        assert_eq!((byte(last), byte(last + 1)), (7, 0));
        let zero_page = |offset: usize| ZERO_PAGE + offset as u64;
        assert_eq!(byte(zero_page(E820_ENTRIES)), 2);
        assert_eq!(byte(zero_page(E820_TABLE + 20 + 2)), 0x10);
        assert_eq!(byte(zero_page(RAMDISK_IMAGE + 3)), 0);
        assert_eq!(byte(zero_page(RAMDISK_IMAGE + 2)), 0xff);
        assert_eq!(byte(zero_page(COMMAND_LINE_POINTER + 2)), 2);
    }

    #[test]
    fn kernels_that_are_none_are_refused() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 << 20)]).unwrap();
        for path in ["/dev/null", "/proc/self/exe", "/nonexistent"] {
            assert!(load(&memory, 16 << 20, 1, Path::new(path), None, "").is_err());
        }
    }
}
