// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a guest was promised by the host that it was started on, and whether another host
//! keeps that promise. The next kernel may hide a feature of the processor, for instance
//! because of an erratum that it knows of, or measure another TSC rate.

use anyhow::{Context, Result};
use kvm_bindings::{kvm_cpuid_entry2, CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};
use serde::{Deserialize, Serialize};

use crate::clock::Rate;
use crate::sys::XsaveSize;

/// What this program needs of KVM.
const CAPABILITIES: [(Cap, &str); 13] = [
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::PitState2, "KVM_CAP_PIT_STATE2"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::Xcrs, "KVM_CAP_XCRS"),
    (Cap::AdjustClock, "KVM_CAP_ADJUST_CLOCK"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];
const KVM_CAP_TSC_CONTROL: u64 = 60;

/// KVM's default of its parameter `tsc_tolerance_ppm`.
const TSC_TOLERANCE_PPM: u64 = 250;
const TSC_TOLERANCE: &str = "/sys/module/kvm/parameters/tsc_tolerance_ppm";

#[derive(Clone, Copy, Debug)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

use Register::{Eax, Ebx, Ecx, Edx};

impl Register {
    fn of(self, entry: &kvm_cpuid_entry2) -> u32 {
        match self {
            Eax => entry.eax,
            Ebx => entry.ebx,
            Ecx => entry.ecx,
            Edx => entry.edx,
        }
    }

    fn of_mut(self, entry: &mut kvm_cpuid_entry2) -> &mut u32 {
        match self {
            Eax => &mut entry.eax,
            Ebx => &mut entry.ebx,
            Ecx => &mut entry.ecx,
            Edx => &mut entry.edx,
        }
    }
}

/// The registers in which each bit is a feature.
const FEATURES: [(u32, u32, Register); 22] = [
    (0x1, 0, Ecx),
    (0x1, 0, Edx),
    (0x7, 0, Ebx),
    (0x7, 0, Ecx),
    (0x7, 0, Edx),
    (0x7, 1, Eax),
    (0x7, 1, Ebx),
    (0x7, 1, Ecx),
    (0x7, 1, Edx),
    (0x7, 2, Edx),
    (0xd, 0, Eax),
    (0xd, 0, Edx),
    (0xd, 1, Eax),
    (0xd, 1, Ecx),
    (0xd, 1, Edx),
    (0x4000_0001, 0, Eax),
    (0x8000_0001, 0, Ecx),
    (0x8000_0001, 0, Edx),
    (0x8000_0007, 0, Edx),
    (0x8000_0008, 0, Ebx),
    (0x8000_0021, 0, Eax),
    (0x8000_0021, 0, Ecx),
];

/// What no guest gets: nested virtualization and topology extensions, because their state or
/// their numbers are not kept here; x2APIC, which goes with the topology of leaf 0xb;
/// asynchronous page faults, because guest memory is always present.
const HIDDEN: [(u32, u32, Register, u32); 3] = [
    (0x1, 0, Ecx, 1 << 5 | 1 << 21),
    (0x8000_0001, 0, Ecx, 1 << 2 | 1 << 22),
    (0x4000_0001, 0, Eax, 1 << 4 | 1 << 10 | 1 << 14),
];
const HIDDEN_LEAVES: [u32; 6] = [
    0xb,
    0x1f,
    0x8000_000a,
    0x8000_001d,
    0x8000_001e,
    0x8000_0026,
];

/// XSAVE and what needs it.
const XSAVE: [(u32, u32, Register, u32); 6] = [
    (0x1, 0, Ecx, 1 << 12 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29),
    (
        0x7,
        0,
        Ebx,
        1 << 5 | 1 << 16 | 1 << 17 | 1 << 21 | 0xf << 26 | 3 << 30,
    ),
    (
        0x7,
        0,
        Ecx,
        1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14,
    ),
    (
        0x7,
        0,
        Edx,
        1 << 2 | 1 << 3 | 1 << 8 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25,
    ),
    (0x7, 1, Eax, 1 << 4 | 1 << 5 | 1 << 23),
    (0x8000_0001, 0, Ecx, 1 << 11 | 1 << 15 | 1 << 16),
];
const XSAVE_LEAVES: [u32; 4] = [0xd, 0x1d, 0x1e, 0x24];

/// The processor that a guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cpu {
    /// All that KVM supports on this host.
    Host,
    /// The same without XSAVE, AVX and what follows from them. Emulators that run KVM
    /// themselves are known to lose XCR0.
    NoXsave,
}

/// Why a host cannot run the guest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Mismatch {
    #[error("KVM lacks {0}")]
    Capability(&'static str),
    #[error("the guest runs on another processor: vendor or model differ")]
    Processor,
    #[error(
        "the processor lacks features that the guest uses: CPUID leaf {leaf:#x}.{subleaf}, {register}, bits {bits:#x}"
    )]
    Features {
        leaf: u32,
        subleaf: u32,
        register: &'static str,
        bits: u32,
    },
    #[error("the FPU state has {here} bytes here, but {guest} in the state")]
    XsaveSize { here: u32, guest: u32 },
    #[error(
        "the guest's TSC runs at {guest} kHz, the host's at {here} kHz, which is more than {tolerance} ppm away, and the processor cannot scale it"
    )]
    Tsc {
        here: u32,
        guest: u32,
        tolerance: u64,
    },
    #[error("the processor lacks the register MSR {0:#x}, whose value the guest needs")]
    Msr(u32),
}

/// What a guest was promised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Promise {
    /// The processor that the guest sees, without what differs from vCPU to vCPU.
    pub cpuid: Vec<kvm_cpuid_entry2>,
    /// The guest's TSC rate in kHz.
    pub tsc_khz: u32,
    /// Size of the FPU state in bytes.
    pub xsave_size: u32,
}

/// This host.
pub struct Host {
    cpuid: Vec<kvm_cpuid_entry2>,
    pub xsave_size: XsaveSize,
    tsc_scaling: bool,
    tsc_tolerance: u64,
}

impl Host {
    /// Looks at KVM. Fails with a [`Mismatch`] if it lacks what any guest needs.
    pub fn new(kvm: &Kvm) -> Result<Self> {
        for (capability, name) in CAPABILITIES {
            if !kvm.check_extension(capability) {
                return Err(Mismatch::Capability(name).into());
            }
        }
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .context("cannot read what the processor supports")?;
        let tolerance = std::fs::read_to_string(TSC_TOLERANCE)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        Ok(Self {
            cpuid: cpuid.as_slice().to_vec(),
            xsave_size: XsaveSize::of(kvm),
            tsc_scaling: kvm.check_extension_raw(KVM_CAP_TSC_CONTROL) > 0,
            tsc_tolerance: tolerance.unwrap_or(TSC_TOLERANCE_PPM),
        })
    }

    /// The promise to a guest that starts here, with vCPUs of the rate `tsc_khz`.
    pub fn promise(&self, tsc_khz: u32, cpu: Cpu) -> Promise {
        Promise {
            cpuid: model(&self.cpuid, cpu),
            tsc_khz,
            xsave_size: self.xsave_size.get(),
        }
    }

    /// How the TSC of a guest with that promise counts here. `tsc_khz` is the rate of a vCPU
    /// whose rate was not set.
    pub fn rate(&self, promise: &Promise, tsc_khz: u32) -> Rate {
        Rate::new(tsc_khz, promise.tsc_khz, self.tsc_tolerance)
    }

    /// Whether a guest with that promise can go on here. `tsc_khz` is the rate of a vCPU
    /// whose rate was not set.
    pub fn keeps(&self, promise: &Promise, tsc_khz: u32) -> Result<(), Mismatch> {
        let (Some(here), Some(guest)) = (identity(&self.cpuid), identity(&promise.cpuid)) else {
            return Err(Mismatch::Processor);
        };
        if here != guest {
            return Err(Mismatch::Processor);
        }
        for (leaf, subleaf, register) in FEATURES {
            let of = |cpuid| find(cpuid, leaf, subleaf).map_or(0, |entry| register.of(entry));
            let bits = of(&promise.cpuid) & !of(&self.cpuid);
            if bits != 0 {
                let register = match register {
                    Eax => "EAX",
                    Ebx => "EBX",
                    Ecx => "ECX",
                    Edx => "EDX",
                };
                return Err(Mismatch::Features {
                    leaf,
                    subleaf,
                    register,
                    bits,
                });
            }
        }
        if self.xsave_size.get() != promise.xsave_size {
            return Err(Mismatch::XsaveSize {
                here: self.xsave_size.get(),
                guest: promise.xsave_size,
            });
        }
        if self.rate(promise, tsc_khz).is_scaled() && !self.tsc_scaling {
            return Err(Mismatch::Tsc {
                here: tsc_khz,
                guest: promise.tsc_khz,
                tolerance: self.tsc_tolerance,
            });
        }
        Ok(())
    }
}

fn find(cpuid: &[kvm_cpuid_entry2], leaf: u32, subleaf: u32) -> Option<&kvm_cpuid_entry2> {
    cpuid
        .iter()
        .find(|entry| entry.function == leaf && entry.index == subleaf)
}

/// Vendor, family, model and stepping.
fn identity(cpuid: &[kvm_cpuid_entry2]) -> Option<[u32; 4]> {
    let vendor = find(cpuid, 0, 0)?;
    Some([vendor.ebx, vendor.ecx, vendor.edx, find(cpuid, 1, 0)?.eax])
}

/// The processor that guests see on a host with `supported`.
fn model(supported: &[kvm_cpuid_entry2], cpu: Cpu) -> Vec<kvm_cpuid_entry2> {
    let mut cpuid = supported.to_vec();
    let mut hide = |bits: &[(u32, u32, Register, u32)], leaves: &[u32]| {
        cpuid.retain(|entry| !leaves.contains(&entry.function));
        for entry in &mut cpuid {
            for (leaf, subleaf, register, bits) in bits {
                if entry.function == *leaf && entry.index == *subleaf {
                    *register.of_mut(entry) &= !bits;
                }
            }
        }
    };
    hide(&HIDDEN, &HIDDEN_LEAVES);
    if cpu == Cpu::NoXsave {
        hide(&XSAVE, &XSAVE_LEAVES);
    }
    cpuid
}

/// The CPUID of one of `count` vCPUs: APIC id, and all of them as cores of one package.
pub fn cpuid_of(promise: &Promise, id: u8, count: u8) -> Result<CpuId> {
    let mut cpuid = promise.cpuid.clone();
    for entry in &mut cpuid {
        match entry.function {
            0x1 => {
                entry.ebx &= 0xffff;
                entry.ebx |= u32::from(id) << 24 | u32::from(count) << 16;
                entry.edx &= !(1 << 28);
                entry.edx |= u32::from(count > 1) << 28;
            }
            0x8000_0001 => {
                entry.ecx &= !(1 << 1);
                entry.ecx |= u32::from(count > 1) << 1;
            }
            0x8000_0008 => {
                entry.ecx &= !0xf0ff;
                entry.ecx |= u32::from(count) - 1;
            }
            _ => {}
        }
    }
    CpuId::from_entries(&cpuid)
        .ok()
        .context("the guest's CPUID has too many entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            index,
            eax: registers[0],
            ebx: registers[1],
            ecx: registers[2],
            edx: registers[3],
            ..Default::default()
        }
    }

    fn host() -> Host {
        Host {
            cpuid: vec![
                entry(0, 0, [0xd, 1, 2, 3]),
                entry(1, 0, [0x12345, 0, u32::MAX, 0xff]),
                entry(7, 0, [0, u32::MAX, 0, 0]),
                entry(0xd, 0, [7, 0, 0, 0]),
                entry(0x8000_0001, 0, [0, 0, u32::MAX, 0]),
            ],
            xsave_size: XsaveSize::example(),
            tsc_scaling: false,
            tsc_tolerance: 250,
        }
    }

    fn promise(host: &Host, cpu: Cpu) -> Promise {
        Promise {
            cpuid: model(&host.cpuid, cpu),
            tsc_khz: 2_000_000,
            xsave_size: host.xsave_size.get(),
        }
    }

    #[test]
    fn a_host_keeps_its_own_promise() {
        let host = host();
        for cpu in [Cpu::Host, Cpu::NoXsave] {
            assert_eq!(host.keeps(&promise(&host, cpu), 2_000_400), Ok(()));
        }
    }

    #[test]
    fn each_difference_is_refused() {
        let host = host();
        let good = promise(&host, Cpu::Host);
        let refusal = |change: &dyn Fn(&mut Promise)| {
            let mut promise = good.clone();
            change(&mut promise);
            host.keeps(&promise, 2_000_000).unwrap_err()
        };
        assert_eq!(refusal(&|p| p.cpuid[0].ebx = 9), Mismatch::Processor);
        assert_eq!(refusal(&|p| p.cpuid[1].eax = 9), Mismatch::Processor);
        assert_eq!(refusal(&|p| p.cpuid.clear()), Mismatch::Processor);
        assert!(matches!(
            refusal(&|p| p.cpuid[1].edx = 0x100),
            Mismatch::Features {
                leaf: 1,
                register: "EDX",
                bits: 0x100,
                ..
            }
        ));
        assert!(matches!(
            refusal(&|p| p.cpuid[3].eax = 0xf),
            Mismatch::Features {
                leaf: 0xd,
                bits: 8,
                ..
            }
        ));
        assert!(matches!(
            refusal(&|p| p.xsave_size = 4097),
            Mismatch::XsaveSize { .. }
        ));
        assert!(matches!(
            refusal(&|p| p.tsc_khz = 2_001_000),
            Mismatch::Tsc { .. }
        ));
        assert!(matches!(
            refusal(&|p| p.tsc_khz = u32::MAX),
            Mismatch::Tsc { .. }
        ));
        assert!(matches!(refusal(&|p| p.tsc_khz = 0), Mismatch::Tsc { .. }));
    }

    #[test]
    fn scaling_allows_any_rate() {
        let mut host = host();
        host.tsc_scaling = true;
        assert_eq!(host.keeps(&promise(&host, Cpu::Host), 3_000_000), Ok(()));
    }

    #[test]
    fn a_processor_without_xsave_has_no_avx() {
        let cpuid = model(&host().cpuid, Cpu::NoXsave);
        assert!(find(&cpuid, 0xd, 0).is_none());
        assert_eq!(find(&cpuid, 1, 0).unwrap().ecx & (1 << 26 | 1 << 28), 0);
        assert_eq!(find(&cpuid, 7, 0).unwrap().ebx & (1 << 5), 0);
    }

    #[test]
    fn vcpus_have_their_own_apic_id() {
        let promise = promise(&host(), Cpu::Host);
        let cpuid = cpuid_of(&promise, 3, 4).unwrap();
        assert_eq!(find(cpuid.as_slice(), 1, 0).unwrap().ebx, 3 << 24 | 4 << 16);
    }
}
