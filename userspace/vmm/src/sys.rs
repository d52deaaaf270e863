// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The system calls that the crates have no safe function for. All `unsafe` code of this
//! program is here.
#![allow(unsafe_code)]

use std::io;

use kvm_bindings::{
    kvm_device_attr, kvm_userspace_memory_region, kvm_xsave, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET,
};
use kvm_ioctls::{VcpuFd, VmFd};
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
/// KVM knows no guest memory but `memory`, which is unmapped after `fd` is closed here, and
/// which no vCPU can use then: a vCPU runs only while a thread of this program holds it, and
/// [`crate::machine::Machine`] ends these threads first.
pub struct Vm {
    fd: VmFd,
    memory: GuestMemoryMmap,
}

impl Vm {
    /// Gives `memory` to the virtual machine `fd`, which must have none yet.
    pub fn new(fd: VmFd, memory: GuestMemoryMmap) -> Result<Self, kvm_ioctls::Error> {
        for (slot, region) in memory.iter().enumerate() {
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
            };
            // SAFETY: The range is mapped, and the guest is the only user of its content that
            // is not volatile. `Vm` keeps the mapping while KVM uses it, by its invariant.
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

/// Restores the FPU state. `xsave_size` is what `KVM_CAP_XSAVE2` answers on this host.
///
/// Fails with `E2BIG` if KVM would read more than `xsave` has.
pub fn set_xsave(vcpu: &VcpuFd, xsave: &kvm_xsave, xsave_size: u32) -> io::Result<()> {
    if xsave_size as usize > size_of::<kvm_xsave>() {
        return Err(io::Error::from_raw_os_error(
            rustix::io::Errno::TOOBIG.raw_os_error(),
        ));
    }
    // SAFETY: KVM reads `KVM_CAP_XSAVE2` bytes, and `xsave` is not shorter.
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
    // SAFETY: The attribute is 8 bytes long, which `value` has room for.
    match unsafe { ioctl_with_ref(vcpu, KVM_GET_DEVICE_ATTR(), &attribute) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets what KVM adds to the host's TSC for this vCPU.
pub fn set_tsc_offset(vcpu: &VcpuFd, value: u64) -> io::Result<()> {
    // SAFETY: The attribute is 8 bytes long, and KVM reads them from `value`.
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
