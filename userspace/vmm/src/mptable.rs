// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of Intel's `MultiProcessor` specification 1.4, from which a kernel without ACPI
//! learns of processors and of the IOAPIC. Without it, it would use the PIC and the PIT.

use anyhow::Result;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Where the table is: the last KiB of conventional memory, where kernels look for it.
pub const START: u64 = 0x9_fc00;
/// The table of this many processors fits that KiB.
pub const MAX_VCPUS: u8 = 16;

const APIC_DEFAULT: u32 = 0xfee0_0000;
const IOAPIC_DEFAULT: u32 = 0xfec0_0000;
const APIC_VERSION: u8 = 0x14;
const SPEC_1_4: u8 = 4;
const ISA_IRQS: u8 = 16;

const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IOAPIC: u8 = 2;
const INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

const INT: u8 = 0;
const NMI: u8 = 1;
const EXTERNAL: u8 = 3;
const ALL_PROCESSORS: u8 = 0xff;

/// The value that makes the bytes of a structure add up to 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

fn pointer(table: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(b"_MP_");
    bytes[4..8].copy_from_slice(&table.to_le_bytes());
    bytes[8] = 1; // length in units of 16 bytes
    bytes[9] = SPEC_1_4;
    bytes[10] = checksum(&bytes);
    bytes
}

fn table(vcpus: u8) -> Vec<u8> {
    let ioapic = vcpus;
    let mut entries = Vec::new();
    for id in 0..vcpus {
        let flags = 1 | u8::from(id == 0) << 1; // enabled, boot processor
        entries.push(vec![PROCESSOR, id, APIC_VERSION, flags]);
        if let Some(entry) = entries.last_mut() {
            // Signature and features are not looked at: CPUID has them.
            entry.resize(20, 0);
        }
    }
    let mut bus = vec![BUS, 0];
    bus.extend_from_slice(b"ISA   ");
    entries.push(bus);
    let mut chip = vec![IOAPIC, ioapic, APIC_VERSION, 1];
    chip.extend_from_slice(&IOAPIC_DEFAULT.to_le_bytes());
    entries.push(chip);
    // KVM connects each interrupt of the PIC to the same pin of the IOAPIC.
    for irq in 0..ISA_IRQS {
        entries.push(vec![INTERRUPT, INT, 0, 0, 0, irq, ioapic, irq]);
    }
    entries.push(vec![LOCAL_INTERRUPT, EXTERNAL, 0, 0, 0, 0, 0, 0]);
    entries.push(vec![LOCAL_INTERRUPT, NMI, 0, 0, 0, 0, ALL_PROCESSORS, 1]);

    let body: Vec<u8> = entries.concat();
    let mut bytes = Vec::with_capacity(44 + body.len());
    bytes.extend_from_slice(b"PCMP");
    bytes.extend_from_slice(&(44 + body.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[SPEC_1_4, 0]);
    bytes.extend_from_slice(b"LIVEUPDT");
    bytes.extend_from_slice(b"VMM         ");
    bytes.extend_from_slice(&[0; 6]); // no OEM table
    bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&APIC_DEFAULT.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]); // no extended table
    bytes.extend_from_slice(&body);
    let sum = checksum(&bytes);
    if let Some(byte) = bytes.get_mut(7) {
        *byte = sum;
    }
    bytes
}

/// Writes the table of `vcpus` processors, with APIC ids from 0.
pub fn write(memory: &GuestMemoryMmap, vcpus: u8) -> Result<()> {
    memory.write_slice(&pointer(START as u32 + 16), GuestAddress(START))?;
    memory.write_slice(&table(vcpus), GuestAddress(START + 16))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_zero_and_lengths_right() {
        for vcpus in [1, 2, MAX_VCPUS] {
            let table = table(vcpus);
            assert_eq!(checksum(&table), 0);
            assert_eq!(
                u16::from_le_bytes([table[4], table[5]]) as usize,
                table.len()
            );
            assert!(16 + table.len() <= 1024);
            let entries = u16::from_le_bytes([table[34], table[35]]) as usize;
            assert_eq!(
                table.len(),
                44 + 20 * vcpus as usize + 8 * (entries - vcpus as usize)
            );
        }
        assert_eq!(checksum(&pointer(0x1234)), 0);
    }
}
