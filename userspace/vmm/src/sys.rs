// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The system calls that the crates have no safe function for. All `unsafe` code of this
//! program is here.
#![allow(unsafe_code)]

use std::io;

use kvm_bindings::{
    kvm_device_attr, kvm_userspace_memory_region, kvm_xsave, KVM_CAP_XSAVE2, KVM_VCPU_TSC_CTRL,
    KVM_VCPU_TSC_OFFSET,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use rustix::mm::Advice;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, 0xae, 0xe1, kvm_device_attr);
ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, 0xae, 0xe2, kvm_device_attr);

/// A KVM virtual machine and the memory that it may write to.
///
/// # Invariants
///
/// KVM knows no guest memory but `memory`, which stays mapped until the process ends. So a
/// vCPU, whose file keeps the virtual machine alive, never writes to memory that was mapped
/// again for something else.
pub struct Vm {
    fd: VmFd,
    memory: GuestMemoryMmap,
}

impl Vm {
    /// Gives `memory` to the virtual machine `fd`, which must have none yet.
    pub fn new(fd: VmFd, memory: GuestMemoryMmap) -> Result<Self, kvm_ioctls::Error> {
        // A process has one guest, so this costs nothing that its end does not give back.
        std::mem::forget(memory.clone());
        for (slot, region) in memory.iter().enumerate() {
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
            };
            // SAFETY: The range is mapped, and stays so until the process ends, because a clone
            // of `memory` is never dropped. It holds no Rust object: this program accesses it
            // through `GuestMemoryMmap` only, which expects the guest to write to it.
            unsafe { fd.set_user_memory_region(region)? };
        }
        Ok(Self { fd, memory })
    }

    /// The KVM file.
    pub fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }
}

/// Asks for huge pages for all of `memory`.
pub fn advise_huge_pages(memory: &GuestMemoryMmap) -> rustix::io::Result<()> {
    for region in memory.iter() {
        // SAFETY: This advice changes how the range is backed, not what it contains.
        unsafe {
            rustix::mm::madvise(
                region.as_ptr().cast(),
                region.len() as usize,
                Advice::LinuxHugepage,
            )?;
        }
    }
    Ok(())
}

/// Size of the FPU state of a vCPU on this host, in bytes.
///
/// # Invariants
///
/// KVM reads at most this many bytes for `KVM_SET_XSAVE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XsaveSize(u32);

impl XsaveSize {
    /// Asks KVM. The answer does not change, because this program enables no feature of the
    /// FPU for guests.
    pub fn of(kvm: &Kvm) -> Self {
        let size = kvm.check_extension_raw(KVM_CAP_XSAVE2.into());
        // A kernel without the capability reads the structure as it was before.
        let size = u32::try_from(size).unwrap_or(0);
        Self(size.max(size_of::<kvm_xsave>() as u32))
    }

    /// The size in bytes.
    pub fn get(self) -> u32 {
        self.0
    }

    #[cfg(test)]
    pub fn example() -> Self {
        Self(size_of::<kvm_xsave>() as u32)
    }
}

/// Restores the FPU state.
///
/// Fails with `E2BIG` if KVM would read more than `xsave` has.
pub fn set_xsave(vcpu: &VcpuFd, xsave: &kvm_xsave, size: XsaveSize) -> io::Result<()> {
    if size.get() as usize > size_of::<kvm_xsave>() {
        return Err(io::Error::from_raw_os_error(
            rustix::io::Errno::TOOBIG.raw_os_error(),
        ));
    }
    // SAFETY: KVM reads at most `size` bytes, by the invariant of `XsaveSize`, and `xsave` has
    // that many.
    unsafe { vcpu.set_xsave(xsave)? };
    Ok(())
}

fn tsc_offset_attribute(value: &u64) -> kvm_device_attr {
    kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: std::ptr::from_ref(value) as u64,
    }
}

/// Reads what KVM adds to the host's TSC for this vCPU.
pub fn tsc_offset(vcpu: &VcpuFd) -> io::Result<u64> {
    let mut value = 0_u64;
    let mut attribute = tsc_offset_attribute(&value);
    attribute.addr = &raw mut value as u64;
    // SAFETY: KVM reads `attribute`, and writes the 8 bytes of this attribute to its address,
    // which is that of `value`.
    match unsafe { ioctl_with_ref(vcpu, KVM_GET_DEVICE_ATTR(), &attribute) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets what KVM adds to the host's TSC for this vCPU.
pub fn set_tsc_offset(vcpu: &VcpuFd, value: u64) -> io::Result<()> {
    // SAFETY: KVM reads the structure, and the 8 bytes of this attribute from its address,
    // which is that of `value`.
    match unsafe { ioctl_with_ref(vcpu, KVM_SET_DEVICE_ATTR(), &tsc_offset_attribute(&value)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What KVM says about an exit for an internal error: the kind of the error, and its data.
pub fn internal_error(vcpu: &mut VcpuFd) -> (u32, Vec<u64>) {
    // SAFETY: All parts of the union are numbers, for which each bit pattern is valid.
    let internal = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal };
    let data = internal.data.iter().take(internal.ndata as usize);
    (internal.suberror, data.copied().collect())
}

/// Reads the host's TSC, which runs on through a kexec.
pub fn rdtsc() -> u64 {
    // SAFETY: Every x86-64 processor has this instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}
