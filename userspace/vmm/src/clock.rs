// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's clocks across a suspend.
//!
//! The host's TSC runs on through a kexec. So for [`Policy::Jump`] the offset between the
//! guest's TSC and the host's stays as it was, and kvm-clock is set forward by the time that
//! the TSC counted. For [`Policy::Stop`] the offset is reduced by what the TSC counted, and
//! kvm-clock is set to where it was. If the processor scales the TSC for the guest, the offset
//! makes up for the difference between the scale of the old kernel and that of the new one.

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

/// How a guest's TSC counts, compared with that of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    host_khz: u32,
    guest_khz: u32,
    scaled: bool,
}

impl Rate {
    /// KVM lets the processor scale the TSC if the rates differ by more than `tolerance` ppm.
    /// Otherwise, both TSCs count alike.
    pub fn new(host_khz: u32, guest_khz: u32, tolerance: u64) -> Self {
        let bound = |millionths: u64| u64::from(host_khz).saturating_mul(millionths) / 1_000_000;
        let low = bound(1_000_000_u64.saturating_sub(tolerance));
        let high = bound(1_000_000_u64.saturating_add(tolerance));
        Self {
            host_khz,
            guest_khz,
            scaled: !(low..=high).contains(&guest_khz.into()),
        }
    }

    /// Whether the processor must scale the TSC.
    pub fn is_scaled(self) -> bool {
        self.scaled
    }

    /// The guest's TSC, without its offset, when the host's is at `host_tsc`.
    fn guest_tsc(self, host_tsc: u64) -> u64 {
        if self.scaled {
            let ticks = u128::from(host_tsc) * u128::from(self.guest_khz);
            (ticks / u128::from(self.host_khz.max(1))) as u64
        } else {
            host_tsc
        }
    }

    /// How long the host's TSC takes for `ticks`, in ns.
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        (u128::from(ticks) * 1_000_000 / u128::from(self.host_khz.max(1))) as u64
    }
}

/// A guest's clock at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// kvm-clock in ns.
    guest_ns: u64,
    /// The host's TSC at that moment.
    host_tsc: u64,
    /// The guest's TSC at that moment, without its offset. The next kernel may measure another
    /// rate of the host's TSC, and scale it in another way.
    guest_tsc: u64,
}

impl ClockState {
    /// Reads the clock. The vCPUs must be stopped.
    pub fn save(vm: &Vm, rate: Rate) -> Result<Self> {
        let clock = vm
            .fd()
            .get_clock()
            .context("cannot read the guest's clock")?;
        let exact = clock.flags & KVM_CLOCK_HOST_TSC != 0;
        let host_tsc = if exact { clock.host_tsc } else { sys::rdtsc() };
        Ok(Self {
            guest_ns: clock.clock,
            host_tsc,
            guest_tsc: rate.guest_tsc(host_tsc),
        })
    }

    /// Sets the clocks of a guest whose vCPUs had these TSC offsets.
    pub fn restore<'a>(
        &self,
        vm: &Vm,
        vcpus: impl Iterator<Item = (&'a VcpuFd, u64)>,
        policy: Policy,
        rate: Rate,
    ) -> Result<()> {
        let (change, guest_ns) = self.at(sys::rdtsc(), policy, rate)?;
        for (vcpu, offset) in vcpus {
            sys::set_tsc_offset(vcpu, offset.wrapping_add(change))
                .context("cannot set the TSC offset")?;
        }
        let clock = kvm_clock_data {
            clock: guest_ns,
            ..Default::default()
        };
        vm.fd()
            .set_clock(&clock)
            .context("cannot set the guest's clock")
    }

    /// What the TSC offsets change by, and kvm-clock in ns, when the host's TSC is at `now`.
    fn at(&self, now: u64, policy: Policy, rate: Rate) -> Result<(u64, u64)> {
        let (begin, guest_ns) = match policy {
            Policy::Jump => {
                let elapsed = now.checked_sub(self.host_tsc).context(
                    "the host's TSC was set back, so nobody knows how long the guest was suspended",
                )?;
                let guest_ns = self.guest_ns.wrapping_add(rate.nanoseconds(elapsed));
                (self.host_tsc, guest_ns)
            }
            Policy::Stop => (now, self.guest_ns),
        };
        // The guest's TSC goes on from where it was, as if the host's had been at `begin` then.
        let change = self.guest_tsc.wrapping_sub(rate.guest_tsc(begin));
        Ok((change, guest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GHZ: u32 = 1_000_000;

    #[test]
    fn clocks_jump_or_stop() {
        let clock = ClockState {
            guest_ns: 77,
            host_tsc: 1_000,
            guest_tsc: 1_000,
        };
        let rate = Rate::new(GHZ, GHZ + 250, 250);
        assert!(!rate.is_scaled());
        let at = |now, policy| clock.at(now, policy, rate).ok();
        assert_eq!(at(3_500, Policy::Jump), Some((0, 2_577)));
        assert_eq!(
            at(3_500, Policy::Stop),
            Some((2_500_u64.wrapping_neg(), 77))
        );
        // A clock that stands still does not need the length of the pause.
        assert_eq!(at(900, Policy::Jump), None);
        assert_eq!(at(900, Policy::Stop), Some((100, 77)));
    }

    /// The guest's TSC counts 2 GHz on a host of 1 GHz, then on one of 4 GHz.
    #[test]
    fn a_scaled_tsc_goes_on_from_where_it_was() {
        let old = Rate::new(GHZ, 2 * GHZ, 250);
        let clock = ClockState {
            guest_ns: 0,
            host_tsc: 1_000,
            guest_tsc: old.guest_tsc(1_000),
        };
        assert_eq!(clock.guest_tsc, 2_000);
        let new = Rate::new(4 * GHZ, 2 * GHZ, 250);
        for (policy, guest_tsc, guest_ns) in
            [(Policy::Jump, 4_000, 1_000), (Policy::Stop, 2_000, 0)]
        {
            let (change, ns) = clock.at(5_000, policy, new).unwrap();
            assert_eq!(new.guest_tsc(5_000).wrapping_add(change), guest_tsc);
            assert_eq!(ns, guest_ns);
        }
    }

    #[test]
    fn the_tolerance_is_that_of_kvm() {
        let scaled = |guest| Rate::new(GHZ, guest, 250).is_scaled();
        assert!(!scaled(GHZ - 250) && !scaled(GHZ + 250));
        assert!(scaled(GHZ - 251) && scaled(GHZ + 251));
        // KVM rounds both bounds down.
        assert!(!Rate::new(1_000_001, 999_750, 250).is_scaled());
        assert!(Rate::new(1_000_001, 1_000_252, 250).is_scaled());
        assert!(!Rate::new(GHZ, u32::MAX, u64::MAX).is_scaled());
        assert!(Rate::new(0, 1, 250).is_scaled());
    }

    #[test]
    fn nothing_overflows() {
        let rate = Rate::new(2_445_400, 2_445_400, 250);
        assert_eq!(rate.nanoseconds(2_445_400), 1_000_000);
        let rate = Rate::new(1 << 20, 1 << 20, 250);
        assert_eq!(rate.nanoseconds(1 << 53), (1 << 33) * 1_000_000);
        let rate = Rate::new(0, u32::MAX, 0);
        rate.nanoseconds(u64::MAX);
        rate.guest_tsc(u64::MAX);
    }
}
