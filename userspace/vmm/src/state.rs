// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a suspended guest: everything but its RAM.
//!
//! It crosses as a state file of the crate `liveupdate`, in a sealed memfd: with its kind, its
//! version, and a checksum. A change to [`State`], or to what it consists of, needs another
//! version. The structures of KVM are strings of bytes.

use std::os::fd::{AsFd, OwnedFd};

use kvm_bindings::{kvm_irqchip, kvm_pit_state2, KVM_MAX_CPUID_ENTRIES};
use liveupdate::state;
use serde::{Deserialize, Serialize};

use crate::clock::{ClockState, Policy};
use crate::host::Promise;
use crate::memory::{self, Pages};
use crate::mptable::MAX_VCPUS;
use crate::serial::SerialState;
use crate::vcpu::{VcpuState, MAX_MSRS};
use crate::virtio::VirtioState;

const MAX_DEVICES: usize = 8;
/// A state has at most this many bytes: a fifth of it with 16 vCPUs that have all MSRs. What
/// reading it allocates is bounded by its length.
const MAX_BYTES: u64 = 1 << 20;
/// Two PICs and the IOAPIC.
pub const IRQCHIPS: usize = 3;

/// Why a file is not a state that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    File(#[from] state::Error),
    #[error("the state is not one of this program: {0}")]
    Malformed(&'static str),
}

/// A suspended guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// As in the label of the memory that it belongs to.
    pub guest: [u8; 16],
    pub suspends: u64,
    /// The kernel that the guest was suspended on.
    pub kernel: String,
    pub ram_bytes: u64,
    pub pages: Pages,
    pub policy: Policy,
    pub promise: Promise,
    pub clock: ClockState,
    pub vcpus: Vec<VcpuState>,
    pub irqchips: Vec<kvm_irqchip>,
    pub pit: kvm_pit_state2,
    pub serial: SerialState,
    pub virtio: Vec<VirtioState>,
}

impl state::State for State {
    const KIND: &'static str = "vmm-guest";
    const VERSION: u32 = 2;
}

impl State {
    /// Puts the state into a memfd that nobody can change.
    pub fn save(&self) -> Result<OwnedFd, state::Error> {
        state::save(self)
    }

    /// Reads a state from a file. The values inside KVM's structures are checked by KVM.
    pub fn load(file: impl AsFd) -> Result<Self, Refusal> {
        let size = rustix::fs::fstat(&file).map(|stat| stat.st_size.unsigned_abs());
        check_bytes(size.unwrap_or(0))?;
        let state: Self = state::load(file.as_fd())?;
        state.check()?;
        Ok(state)
    }

    /// Reads a state from the bytes of a file, as [`State::load`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        check_bytes(bytes.len() as u64)?;
        let state: Self = state::decode(bytes)?;
        state.check()?;
        Ok(state)
    }

    /// Bounds what later code loops over, divides by or allocates.
    fn check(&self) -> Result<(), Refusal> {
        let bounds = [
            (
                (1..=MAX_VCPUS as usize).contains(&self.vcpus.len()),
                "the number of vCPUs",
            ),
            (
                self.vcpus.iter().all(|vcpu| vcpu.msrs.len() <= MAX_MSRS),
                "the number of MSRs",
            ),
            (
                self.promise.cpuid.len() <= KVM_MAX_CPUID_ENTRIES,
                "the size of CPUID",
            ),
            (self.promise.tsc_khz != 0, "the TSC rate"),
            (memory::is_size(self.ram_bytes), "the size of the memory"),
            (
                self.irqchips.len() == IRQCHIPS
                    && (0..)
                        .zip(&self.irqchips)
                        .all(|(id, chip)| chip.chip_id == id),
                "the interrupt controllers",
            ),
            (
                self.virtio.len() <= MAX_DEVICES && self.virtio.iter().all(VirtioState::is_valid),
                "the devices",
            ),
        ];
        match bounds.iter().find(|(good, _)| !good) {
            Some((_, what)) => Err(Refusal::Malformed(what)),
            None => Ok(()),
        }
    }
}

fn check_bytes(bytes: u64) -> Result<(), Refusal> {
    if bytes > MAX_BYTES {
        return Err(Refusal::Malformed("its length"));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use kvm_bindings::kvm_cpuid_entry2;
    use proptest::prelude::*;

    use super::*;
    use crate::{vcpu, virtio};

    /// A state that no KVM made.
    pub fn example(seed: u64, vcpus: usize) -> State {
        State {
            guest: [seed as u8; 16],
            suspends: seed,
            kernel: format!("7.3.{seed}"),
            ram_bytes: 128 << 20,
            pages: Pages::Small,
            policy: Policy::Jump,
            promise: Promise {
                cpuid: vec![kvm_cpuid_entry2::default(); 30],
                tsc_khz: seed as u32 | 1,
                xsave_size: 4096,
            },
            clock: ClockState::default(),
            vcpus: (0..vcpus).map(|_| vcpu::tests::example(seed)).collect(),
            irqchips: (0..IRQCHIPS as u32)
                .map(|chip_id| kvm_irqchip {
                    chip_id,
                    ..Default::default()
                })
                .collect(),
            pit: kvm_pit_state2::default(),
            serial: SerialState::default(),
            virtio: vec![virtio::tests::example()],
        }
    }

    /// Makes the checksum right again.
    fn sum(bytes: &mut [u8]) {
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    }

    #[test]
    fn round_trip() {
        for vcpus in [1, 2, MAX_VCPUS as usize] {
            let bytes = state::encode(&example(7, vcpus)).unwrap();
            assert_eq!(
                state::encode(&State::decode(&bytes).unwrap()).unwrap(),
                bytes
            );
        }
    }

    #[test]
    fn a_file_that_nobody_can_change() {
        let file = std::fs::File::from(example(7, 2).save().unwrap());
        assert!(file.set_len(0).is_err());
        assert_eq!(State::load(&file).unwrap().suspends, 7);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let mut bytes = state::encode(&example(7, 1)).unwrap();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                bytes[index] ^= 1 << bit;
                assert!(State::decode(&bytes).is_err(), "byte {index}, bit {bit}");
                bytes[index] ^= 1 << bit;
            }
        }
        assert!(State::decode(&bytes).is_ok());
    }

    /// The checksum does not protect from bytes that came with it. What is accepted then is a
    /// state like any other.
    #[test]
    fn each_flipped_byte_with_a_new_checksum_is_decoded_without_panic() {
        let mut bytes = state::encode(&example(7, 1)).unwrap();
        let mut accepted = 0;
        for index in 12..bytes.len() {
            bytes[index] ^= 0xff;
            sum(&mut bytes);
            if let Ok(state) = State::decode(&bytes) {
                assert!(State::decode(&state::encode(&state).unwrap()).is_ok());
                accepted += 1;
            }
            bytes[index] ^= 0xff;
        }
        // The registers, at least, have no wrong values here.
        assert!(accepted > 4096, "{accepted}");
    }

    #[test]
    fn every_other_length_is_refused() {
        let good = state::encode(&example(7, 1)).unwrap();
        for length in 0..good.len() {
            assert!(State::decode(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(State::decode(&[&good[..], &[0]].concat()).is_err());
    }

    #[test]
    fn other_versions_and_files_are_refused() {
        let mut older = state::encode(&example(7, 1)).unwrap();
        older[48] = 0;
        sum(&mut older);
        let refusal = State::decode(&older).unwrap_err();
        assert!(refusal.to_string().contains("version 0"), "{refusal}");
        let mut foreign = state::encode(&example(7, 1)).unwrap();
        foreign[16] = b'x';
        sum(&mut foreign);
        let refusal = State::decode(&foreign).unwrap_err();
        assert!(refusal.to_string().contains("xmm-guest"), "{refusal}");
        assert!(State::decode(&[7; 4096]).is_err());
    }

    #[test]
    fn counts_are_bounded() {
        let refused = |change: &dyn Fn(&mut State)| {
            let mut state = example(7, 1);
            change(&mut state);
            matches!(
                State::decode(&state::encode(&state).unwrap()),
                Err(Refusal::Malformed(_))
            )
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|state| state.vcpus.clear()));
        assert!(refused(&|state| state.vcpus = example(7, 17).vcpus));
        assert!(refused(&|state| state.irqchips.truncate(2)));
        assert!(refused(&|state| state.irqchips.reverse()));
        assert!(refused(&|state| state.promise.tsc_khz = 0));
        assert!(refused(&|state| state.ram_bytes = 0));
        assert!(refused(&|state| state.ram_bytes = u64::MAX));
        assert!(refused(&|state| state.ram_bytes += 4096));
        assert!(refused(&|state| {
            state.virtio = vec![virtio::tests::example(); MAX_DEVICES + 1];
        }));
        assert!(refused(&|state| {
            state.kernel = "7".repeat(MAX_BYTES as usize);
        }));
        assert!(refused(&|state| {
            state.promise.cpuid = vec![kvm_cpuid_entry2::default(); KVM_MAX_CPUID_ENTRIES + 1];
        }));
        assert!(refused(&|state| {
            state.vcpus[0].msrs = vec![kvm_bindings::kvm_msr_entry::default(); MAX_MSRS + 1];
        }));
    }

    proptest! {
        /// The checksum does not protect from bytes that came with it.
        #[test]
        fn any_change_with_a_new_checksum_is_decoded_without_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = state::encode(&example(7, 2)).unwrap();
            for (index, byte) in changes {
                let index = 64 + index.index(bytes.len() - 64);
                bytes[index] = byte;
            }
            sum(&mut bytes);
            if let Ok(state) = State::decode(&bytes) {
                prop_assert!(state::encode(&state).is_ok());
            }
        }

        #[test]
        fn any_state_round_trips(seed: u64, vcpus in 1..8_usize) {
            let bytes = state::encode(&example(seed, vcpus)).unwrap();
            prop_assert_eq!(state::encode(&State::decode(&bytes).unwrap()).unwrap(), bytes);
        }
    }
}
