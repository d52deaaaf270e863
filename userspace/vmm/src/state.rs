// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a suspended guest, as bytes: everything but its RAM.
//!
//! ```text
//! 0    8  magic "LUVMSTAT"
//! 8    4  version
//! 12   4  length of the body in bytes
//! 16   4  CRC-32 of the body
//! 20   4  CRC-32 of bytes 0 to 19
//! 24   .  body: `State` in postcard's encoding
//! ```
//!
//! All numbers are little-endian. A change to [`State`] or to what it consists of needs
//! another version. The structures of KVM are sequences of bytes with their length.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use kvm_bindings::{kvm_irqchip, kvm_pit_state2};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::clock::{ClockState, Policy};
use crate::host::Promise;
use crate::memory::Pages;
use crate::mptable::MAX_VCPUS;
use crate::serial::SerialState;
use crate::vcpu::{MAX_MSRS, VcpuState};
use crate::virtio::VirtioState;

const MAGIC: [u8; 8] = *b"LUVMSTAT";
const VERSION: u32 = 1;
const HEADER_SIZE: usize = 24;
/// A state is smaller than this, so that a damaged length costs no memory.
const MAX_SIZE: usize = 1 << 20;
const MAX_DEVICES: usize = 8;
const MAX_CPUID: usize = 256;
/// Two PICs and the IOAPIC.
pub const IRQCHIPS: usize = 3;

/// Why bytes are not a state that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the state cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("the state has {0} bytes, which is not the size of any state")]
    Size(u64),
    #[error("this is not the state of a guest")]
    Foreign,
    #[error("the state has version {0}, and this program reads version {VERSION}")]
    Version(u32),
    #[error("the state is damaged: its {0} does not match its checksum")]
    Damaged(&'static str),
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

impl State {
    /// Encodes the state.
    pub fn encode(&self) -> postcard::Result<Vec<u8>> {
        let body = postcard::to_stdvec(self)?;
        if body.len() > MAX_SIZE - HEADER_SIZE {
            return Err(postcard::Error::SerializeBufferFull);
        }
        let mut bytes = Vec::with_capacity(HEADER_SIZE + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Decodes a state. The values inside KVM's structures are checked by KVM.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let size = Refusal::Size(bytes.len() as u64);
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_SIZE>() else {
            return Err(size);
        };
        let [m0, m1, m2, m3, m4, m5, m6, m7, rest @ ..] = *header;
        let [
            v0,
            v1,
            v2,
            v3,
            l0,
            l1,
            l2,
            l3,
            b0,
            b1,
            b2,
            b3,
            h0,
            h1,
            h2,
            h3,
        ] = rest;
        let known = [m0, m1, m2, m3, m4, m5, m6, m7] == MAGIC;
        let intact =
            crc32fast::hash(&header[..HEADER_SIZE - 4]) == u32::from_le_bytes([h0, h1, h2, h3]);
        match (known, intact) {
            (false, false) => return Err(Refusal::Foreign),
            (true, true) => {}
            _ => return Err(Refusal::Damaged("header")),
        }
        let version = u32::from_le_bytes([v0, v1, v2, v3]);
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        if u32::from_le_bytes([l0, l1, l2, l3]) as usize != body.len() {
            return Err(size);
        }
        if crc32fast::hash(body) != u32::from_le_bytes([b0, b1, b2, b3]) {
            return Err(Refusal::Damaged("body"));
        }
        let (state, rest) = postcard::take_from_bytes::<Self>(body)
            .map_err(|_| Refusal::Malformed("its encoding is invalid"))?;
        if !rest.is_empty() {
            return Err(Refusal::Malformed("bytes follow its end"));
        }
        state.check()?;
        Ok(state)
    }

    /// Bounds what later code loops over or allocates.
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
            (self.promise.cpuid.len() <= MAX_CPUID, "the size of CPUID"),
            (
                self.irqchips.len() == IRQCHIPS
                    && (0..)
                        .zip(&self.irqchips)
                        .all(|(id, chip)| chip.chip_id == id),
                "the interrupt controllers",
            ),
            (
                self.virtio.len() <= MAX_DEVICES && self.virtio.iter().all(VirtioState::is_valid),
                "the number of devices",
            ),
        ];
        match bounds.iter().find(|(good, _)| !good) {
            Some((_, what)) => Err(Refusal::Malformed(what)),
            None => Ok(()),
        }
    }

    /// Reads a state from a file, from its start. The file's position crosses a kexec, so it
    /// is not used.
    pub fn read(file: &File) -> Result<Self, Refusal> {
        let size = file.metadata()?.len();
        if size > MAX_SIZE as u64 {
            return Err(Refusal::Size(size));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Self::decode(&bytes)
    }
}

/// Puts an encoded state into a memfd that nobody can change.
pub fn seal(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(
        "vmm-state",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;
    use proptest::prelude::*;

    use super::*;
    use crate::vcpu;

    fn example(seed: u64, vcpus: usize) -> State {
        State {
            guest: [seed as u8; 16],
            suspends: seed,
            kernel: format!("7.3.{seed}"),
            ram_bytes: 128 << 20,
            pages: Pages::Small,
            policy: Policy::Jump,
            promise: Promise {
                cpuid: vec![kvm_cpuid_entry2::default(); 30],
                tsc_khz: seed as u32,
                xsave_size: 4096,
            },
            clock: postcard::from_bytes(&[1, 2]).unwrap(),
            vcpus: (0..vcpus).map(|_| vcpu::tests::example(seed)).collect(),
            irqchips: (0..IRQCHIPS as u32)
                .map(|chip_id| kvm_irqchip {
                    chip_id,
                    ..Default::default()
                })
                .collect(),
            pit: kvm_pit_state2::default(),
            serial: SerialState::default(),
            virtio: Vec::new(),
        }
    }

    /// Bytes with a header that fits `body`.
    fn wrap(body: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn round_trip() {
        for vcpus in [1, 2, MAX_VCPUS as usize] {
            let bytes = example(7, vcpus).encode().unwrap();
            let state = State::decode(&bytes).unwrap();
            assert_eq!(state.encode().unwrap(), bytes);
            assert_eq!(bytes, wrap(&bytes[HEADER_SIZE..]));
        }
    }

    #[test]
    fn sealed_file() {
        let bytes = example(7, 2).encode().unwrap();
        let mut file = seal(&bytes).unwrap();
        assert!(file.write_all(b"more").is_err());
        assert!(file.set_len(0).is_err());
        assert_eq!(State::read(&file).unwrap().encode().unwrap(), bytes);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let good = example(7, 2).encode().unwrap();
        let mut bytes = good.clone();
        for index in 0..bytes.len() {
            for bit in [0, 3, 7] {
                bytes[index] ^= 1 << bit;
                let refusal = State::decode(&bytes).unwrap_err();
                assert!(
                    match refusal {
                        Refusal::Foreign => index < MAGIC.len(),
                        Refusal::Damaged(_) => index >= MAGIC.len(),
                        _ => false,
                    },
                    "byte {index}, bit {bit}: {refusal}"
                );
                bytes[index] ^= 1 << bit;
            }
        }
        assert_eq!(bytes, good);
    }

    #[test]
    fn every_other_length_is_refused() {
        let good = example(7, 1).encode().unwrap();
        for length in 0..good.len() {
            assert!(State::decode(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(State::decode(&[&good[..], &[0]].concat()).is_err());
        assert!(matches!(
            State::read(&seal(&vec![0; MAX_SIZE + 1]).unwrap()),
            Err(Refusal::Size(_))
        ));
    }

    #[test]
    fn other_versions_and_files_are_refused() {
        let mut older = example(7, 1).encode().unwrap();
        older[8] = 0;
        let crc = crc32fast::hash(&older[..20]).to_le_bytes();
        older[20..24].copy_from_slice(&crc);
        assert!(matches!(State::decode(&older), Err(Refusal::Version(0))));
        assert!(matches!(State::decode(&[7; 4096]), Err(Refusal::Foreign)));
        assert!(matches!(State::decode(&[]), Err(Refusal::Size(0))));
    }

    #[test]
    fn counts_are_bounded() {
        let refusal = |change: &dyn Fn(&mut State)| {
            let mut state = example(7, 1);
            change(&mut state);
            matches!(
                State::decode(&state.encode().unwrap()),
                Err(Refusal::Malformed(_))
            )
        };
        assert!(!refusal(&|_| ()));
        assert!(refusal(&|state| state.vcpus.clear()));
        assert!(refusal(&|state| state.vcpus = example(7, 17).vcpus));
        assert!(refusal(&|state| state.irqchips.truncate(2)));
        assert!(refusal(&|state| state.irqchips.reverse()));
        assert!(refusal(&|state| {
            state.promise.cpuid = vec![kvm_cpuid_entry2::default(); 257];
        }));
        assert!(refusal(&|state| {
            state.vcpus[0].msrs = vec![Default::default(); MAX_MSRS + 1];
        }));
    }

    proptest! {
        /// Bytes that the checksum does not protect from, because they came with it.
        #[test]
        fn any_body_is_decoded_without_panic(body in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = State::decode(&wrap(&body));
            let _ = State::decode(&body);
        }

        #[test]
        fn any_change_with_a_new_checksum_is_decoded_without_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut body = example(7, 2).encode().unwrap().split_off(HEADER_SIZE);
            for (index, byte) in changes {
                let index = index.index(body.len());
                body[index] = byte;
            }
            if let Ok(state) = State::decode(&wrap(&body)) {
                prop_assert!(state.encode().is_ok());
            }
        }

        #[test]
        fn any_state_round_trips(seed: u64, vcpus in 1..8_usize) {
            let bytes = example(seed, vcpus).encode().unwrap();
            prop_assert_eq!(State::decode(&bytes).unwrap().encode().unwrap(), bytes);
        }
    }
}
