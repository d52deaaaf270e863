// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a vCPU: reading it from KVM, and giving it to a vCPU of the next kernel.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use kvm_bindings::{
    kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave, Msrs, KVM_MAX_MSR_ENTRIES,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

use crate::host::Mismatch;
use crate::sys::{self, XsaveSize};

const MSR_IA32_TSC: u32 = 0x10;
const MSR_IA32_TSC_ADJUST: u32 = 0x3b;
const MSR_IA32_TSC_DEADLINE: u32 = 0x6e0;

/// A vCPU has at most this many MSRs: KVM does not read or write more at once.
pub const MAX_MSRS: usize = KVM_MAX_MSR_ENTRIES;

/// All of a vCPU that is not in guest RAM. CPUID is in [`crate::host::Promise`].
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debugregs: kvm_debugregs,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    /// Without those of the TSC, which [`crate::clock`] sets.
    pub msrs: Vec<kvm_msr_entry>,
    /// When the LAPIC's timer fires, in the guest's TSC; 0 for never.
    tsc_deadline: u64,
    /// What KVM adds to the host's TSC.
    pub tsc_offset: u64,
}

/// The numbers of the MSRs that belong to a vCPU's state on this host.
pub fn msr_indices(kvm: &Kvm) -> Result<Vec<u32>> {
    let list = kvm
        .get_msr_index_list()
        .context("cannot read the list of MSRs")?;
    Ok(list
        .as_slice()
        .iter()
        .copied()
        .filter(|index| ![MSR_IA32_TSC, MSR_IA32_TSC_ADJUST, MSR_IA32_TSC_DEADLINE].contains(index))
        .collect())
}

/// Reads MSRs. KVM lists some that a vCPU with this CPUID lacks; these are left out.
fn read_msrs(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>> {
    let mut found = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let entries: Vec<_> = rest
            .iter()
            .map(|index| kvm_msr_entry {
                index: *index,
                ..Default::default()
            })
            .collect();
        let mut msrs = Msrs::from_entries(&entries).ok().context("too many MSRs")?;
        // KVM stops at the first one that it cannot read.
        let count = vcpu.get_msrs(&mut msrs)?;
        found.extend(msrs.as_slice().iter().take(count));
        rest = rest.get(count + 1..).unwrap_or_default();
    }
    Ok(found)
}

fn write_msr(vcpu: &VcpuFd, entry: kvm_msr_entry) -> Result<()> {
    let msrs = Msrs::from_entries(&[entry]).ok().context("too many MSRs")?;
    if vcpu.set_msrs(&msrs)? != 1 {
        return Err(Mismatch::Msr(entry.index).into());
    }
    Ok(())
}

/// Writes the MSRs that differ from those of a new vCPU. Writing those that KVM does not
/// implement would log a line, even if the value is 0.
fn write_msrs(vcpu: &VcpuFd, wanted: &[kvm_msr_entry]) -> Result<()> {
    let indices: Vec<_> = wanted.iter().map(|entry| entry.index).collect();
    let now: BTreeMap<_, _> = read_msrs(vcpu, &indices)?
        .iter()
        .map(|entry| (entry.index, entry.data))
        .collect();
    let changed: Vec<_> = wanted
        .iter()
        .filter(|entry| now.get(&entry.index).copied().unwrap_or(0) != entry.data)
        .copied()
        .collect();
    let msrs = Msrs::from_entries(&changed).ok().context("too many MSRs")?;
    // KVM stops at the first one that it cannot write.
    match changed.get(vcpu.set_msrs(&msrs)?) {
        Some(entry) => Err(Mismatch::Msr(entry.index).into()),
        None => Ok(()),
    }
}

impl VcpuState {
    /// Reads the state of a vCPU that is stopped and whose last exit is complete.
    pub fn save(vcpu: &VcpuFd, msrs: &[u32]) -> Result<Self> {
        // Reading this first lets KVM act on an INIT or SIPI that is pending.
        let mp_state = vcpu.get_mp_state().context("mp_state")?;
        let msrs = read_msrs(vcpu, msrs).context("MSRs")?;
        ensure!(msrs.len() <= MAX_MSRS, "the vCPU has {} MSRs", msrs.len());
        let deadline = read_msrs(vcpu, &[MSR_IA32_TSC_DEADLINE]).context("timer")?;
        Ok(Self {
            mp_state,
            regs: vcpu.get_regs().context("registers")?,
            sregs: vcpu.get_sregs().context("segment registers")?,
            xsave: vcpu.get_xsave().context("FPU")?,
            xcrs: vcpu.get_xcrs().context("extended control registers")?,
            debugregs: vcpu.get_debug_regs().context("debug registers")?,
            lapic: vcpu.get_lapic().context("LAPIC")?,
            events: vcpu.get_vcpu_events().context("pending events")?,
            msrs,
            tsc_deadline: deadline.first().map_or(0, |entry| entry.data),
            tsc_offset: sys::tsc_offset(vcpu).context("TSC offset")?,
        })
    }

    /// Gives the state to a new vCPU, whose CPUID and TSC rate are set. After the clock was
    /// set, [`VcpuState::restore_timer`] must follow.
    pub fn restore(&self, vcpu: &VcpuFd, xsave_size: XsaveSize) -> Result<()> {
        // KVM takes the LAPIC's address and mode from the segment registers' call. It refuses
        // to run a vCPU that is not runnable with a pending event, so events come late.
        vcpu.set_sregs(&self.sregs).context("segment registers")?;
        vcpu.set_regs(&self.regs).context("registers")?;
        vcpu.set_xcrs(&self.xcrs)
            .context("extended control registers")?;
        sys::set_xsave(vcpu, &self.xsave, xsave_size).context("FPU")?;
        vcpu.set_debug_regs(&self.debugregs)
            .context("debug registers")?;
        vcpu.set_lapic(&self.lapic).context("LAPIC")?;
        write_msrs(vcpu, &self.msrs).context("MSRs")?;
        vcpu.set_vcpu_events(&self.events)
            .context("pending events")?;
        vcpu.set_mp_state(self.mp_state).context("mp_state")?;
        Ok(())
    }

    /// Starts the LAPIC's TSC timer, which needs the right TSC.
    pub fn restore_timer(&self, vcpu: &VcpuFd) -> Result<()> {
        if self.tsc_deadline == 0 {
            return Ok(());
        }
        let entry = kvm_msr_entry {
            index: MSR_IA32_TSC_DEADLINE,
            data: self.tsc_deadline,
            ..Default::default()
        };
        write_msr(vcpu, entry).context("timer")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A state that no KVM made.
    pub fn example(seed: u64) -> VcpuState {
        VcpuState {
            mp_state: kvm_mp_state::default(),
            regs: kvm_regs {
                rip: seed,
                ..Default::default()
            },
            sregs: kvm_sregs::default(),
            xsave: kvm_xsave::default(),
            xcrs: kvm_xcrs::default(),
            debugregs: kvm_debugregs::default(),
            lapic: kvm_lapic_state::default(),
            events: kvm_vcpu_events::default(),
            msrs: vec![kvm_msr_entry {
                index: 0x277,
                data: seed,
                ..Default::default()
            }],
            tsc_deadline: seed,
            tsc_offset: seed,
        }
    }
}
