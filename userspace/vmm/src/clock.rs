// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's clocks across a suspend.
//!
//! The host's TSC runs on through a kexec. So for [`Policy::Jump`] the offset between the
//! guest's TSC and the host's stays as it was, and kvm-clock is set forward by the time that
//! the TSC counted. For [`Policy::Stop`] the offset is reduced by what the TSC counted, and
//! kvm-clock is set to where it was.

use anyhow::{Context, Result};
use kvm_bindings::{kvm_clock_data, KVM_CLOCK_HOST_TSC};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use crate::sys::{self, Vm};

/// What a guest's clocks do while the guest is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Policy {
    /// They go on: timers that expired fire at once, and the time of day stays right.
    Jump,
    /// They stand still: the guest sees no gap, and its time of day is late by the pause.
    Stop,
}

/// A guest's clock at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// kvm-clock in ns.
    guest_ns: u64,
    /// The host's TSC at that moment.
    host_tsc: u64,
}

impl ClockState {
    /// Reads the clock. The vCPUs must be stopped.
    pub fn save(vm: &Vm) -> Result<Self> {
        let clock = vm
            .fd()
            .get_clock()
            .context("cannot read the guest's clock")?;
        let exact = clock.flags & KVM_CLOCK_HOST_TSC != 0;
        Ok(Self {
            guest_ns: clock.clock,
            host_tsc: if exact { clock.host_tsc } else { sys::rdtsc() },
        })
    }

    /// Sets the clocks of a guest whose vCPUs had these TSC offsets. `tsc_khz` is the TSC's
    /// rate.
    pub fn restore<'a>(
        &self,
        vm: &Vm,
        vcpus: impl Iterator<Item = (&'a VcpuFd, u64)>,
        policy: Policy,
        tsc_khz: u32,
    ) -> Result<()> {
        let elapsed = sys::rdtsc().wrapping_sub(self.host_tsc);
        let (late, ahead) = match policy {
            Policy::Jump => (0, nanoseconds(elapsed, tsc_khz)),
            Policy::Stop => (elapsed, 0),
        };
        for (vcpu, offset) in vcpus {
            sys::set_tsc_offset(vcpu, offset.wrapping_sub(late))
                .context("cannot set the TSC offset")?;
        }
        let clock = kvm_clock_data {
            clock: self.guest_ns.wrapping_add(ahead),
            ..Default::default()
        };
        vm.fd()
            .set_clock(&clock)
            .context("cannot set the guest's clock")
    }
}

/// How long the TSC takes for `ticks`, in ns.
pub fn nanoseconds(ticks: u64, tsc_khz: u32) -> u64 {
    (u128::from(ticks) * 1_000_000 / u128::from(tsc_khz.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_do_not_overflow() {
        assert_eq!(nanoseconds(2_445_400, 2_445_400), 1_000_000);
        assert_eq!(nanoseconds(1 << 53, 1 << 20), (1 << 33) * 1_000_000);
        nanoseconds(u64::MAX, 0);
    }
}
