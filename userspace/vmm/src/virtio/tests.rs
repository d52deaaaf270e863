// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices against a driver that is played here.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use proptest::prelude::*;
use virtio_queue::desc::{split::Descriptor, RawDescriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::block::Block;
use super::console::{Console, Line};
use super::{
    Device, DeviceState, Registers, Ring, Transport, VirtioState, INTERRUPT_CONFIG,
    INTERRUPT_QUEUE, STATUS_NEEDS_RESET,
};
use crate::bus::Interrupt;

/// A state that no device made.
pub fn example() -> VirtioState {
    VirtioState {
        registers: Registers {
            status: 0xf,
            ..Default::default()
        },
        rings: vec![Ring::save(&Queue::new(64).unwrap()); 2],
        device: DeviceState::Console {
            input: b"input".to_vec(),
        },
    }
}

const DESCRIPTOR_WRITE: u16 = 2;
const DATA: u64 = 0x10_0000;
const STEP: u64 = 0x1_0000;

/// A part of a request: bytes for the device, or the size of a buffer that it may write to.
#[derive(Clone, Debug)]
enum Part {
    Out(Vec<u8>),
    In(usize),
}

/// Gives one request to a device. Returns what it wrote to each part, and the length that it
/// reported, or None if it did not use the request.
fn request(device: &mut dyn Device, index: usize, parts: &[Part]) -> Option<(Vec<Vec<u8>>, u32)> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let driver = MockSplitQueue::new(&memory, 16);
    let mut descriptors: Vec<RawDescriptor> = Vec::new();
    for (number, part) in (0..).zip(parts) {
        let address = DATA + number * STEP;
        let (length, flags) = match part {
            Part::Out(bytes) => {
                memory.write_slice(bytes, GuestAddress(address)).unwrap();
                (bytes.len(), 0)
            }
            Part::In(length) => (*length, DESCRIPTOR_WRITE),
        };
        descriptors.push(Descriptor::new(address, length as u32, flags, 0).into());
    }
    driver.build_desc_chain(&descriptors).unwrap();
    let mut queue: Queue = driver.create_queue().unwrap();
    if !device.process(index, &mut queue, &memory).unwrap() {
        return None;
    }
    let used = driver.used().ring().ref_at(0).unwrap().load();
    let written = (0..).zip(parts).map(|(number, part)| {
        let mut bytes = vec![
            0;
            if let Part::In(length) = part {
                *length
            } else {
                0
            }
        ];
        let address = GuestAddress(DATA + number * STEP);
        memory.read_slice(&mut bytes, address).unwrap();
        bytes
    });
    Some((written.collect(), used.len()))
}

fn disk_file(sectors: u64) -> File {
    let file = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, sectors * 512 + 100).unwrap();
    file.into()
}

fn disk(sectors: u64) -> Block {
    Block::new(disk_file(sectors)).unwrap()
}

fn header(kind: u32, sector: u64) -> Part {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&sector.to_le_bytes());
    Part::Out(bytes)
}

#[test]
fn a_disk_keeps_what_is_written() {
    let mut disk = disk(64);
    let data: Vec<u8> = (0..4096_u32).map(|byte| byte as u8).collect();
    let parts = [header(1, 7), Part::Out(data.clone()), Part::In(1)];
    let (written, length) = request(&mut disk, 0, &parts).unwrap();
    assert_eq!((written[2][0], length), (0, 1));
    let parts = [header(0, 7), Part::In(4096), Part::In(1)];
    let (written, length) = request(&mut disk, 0, &parts).unwrap();
    assert_eq!((written[2][0], length), (0, 4097));
    assert_eq!(written[1], data);
}

#[test]
fn a_disk_refuses_what_it_lacks() {
    for (kind, sector, status) in [
        (0, 57, 1),
        (0, u64::MAX, 1),
        (0, u64::MAX / 512, 1),
        (1, 0, 0),
        (4, 0, 0),
        (8, 0, 0),
        (9, 0, 2),
    ] {
        let parts = [header(kind, sector), Part::In(4096), Part::In(1)];
        let (written, _) = request(&mut disk(64), 0, &parts).unwrap();
        assert_eq!(written[2][0], status, "request {kind} of sector {sector}");
    }
    let parts = [header(1, 57), Part::Out(vec![7; 4096]), Part::In(1)];
    let (written, _) = request(&mut disk(64), 0, &parts).unwrap();
    assert_eq!(written[2][0], 1);
    // A header that is too short.
    let parts = [Part::Out(vec![0; 15]), Part::In(1)];
    let (written, _) = request(&mut disk(64), 0, &parts).unwrap();
    assert_eq!(written[1][0], 1);
}

#[test]
fn a_disk_of_another_size_is_not_taken_over() {
    let state = disk(64).save().unwrap();
    assert!(disk(64).restore(&state).is_ok());
    assert!(disk(65).restore(&state).is_err());
    assert!(Console::new(Line::default()).restore(&state).is_err());
}

#[test]
fn a_console_passes_bytes_on() {
    let line = Line::default();
    let mut console = Console::new(line.clone());
    // Without a client, output is lost and no input comes.
    let parts = [Part::Out(b"lost".to_vec())];
    assert!(request(&mut console, 1, &parts).is_some());
    assert!(request(&mut console, 0, &[Part::In(16)]).is_none());

    let (mut client, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    line.connect(theirs);
    let parts = [Part::Out(b"hello".to_vec())];
    request(&mut console, 1, &parts).unwrap();
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *b"hello");

    client.write_all(b"answer").unwrap();
    assert!(line.receive());
    // What does not fit into the guest's buffers crosses the kexec.
    let (written, length) = request(&mut console, 0, &[Part::In(2)]).unwrap();
    assert_eq!((written[0].as_slice(), length), (&b"an"[..], 2));
    let state = console.save().unwrap();
    let mut console = Console::new(Line::default());
    console.restore(&state).unwrap();
    let (written, length) = request(&mut console, 0, &[Part::In(8)]).unwrap();
    assert_eq!((&written[0][..4], length), (&b"swer"[..], 4));

    drop(client);
    assert!(!line.receive());
}

#[test]
fn rings_are_checked() {
    let mut ring = Ring::save(&Queue::new(64).unwrap());
    assert!(ring.restore(64).is_ok());
    ring.size = 128;
    assert!(ring.restore(64).is_err());
    ring.size = 63;
    assert!(ring.restore(64).is_err());
    ring.size = 64;
    ring.descriptors = 1;
    assert!(ring.restore(64).is_err());
}

/// A driver that uses the registers, and memory as it likes.
struct Driver {
    transport: Transport,
    interrupts: Arc<AtomicUsize>,
    memory: GuestMemoryMmap,
}

const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const MEMORY_SIZE: usize = 0x1_0000;

impl Driver {
    fn new(device: impl Device + 'static) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
        let interrupts = Arc::default();
        let interrupt = Interrupt::counter(&interrupts);
        Self {
            transport: Transport::new(Box::new(device), interrupt, memory.clone()).unwrap(),
            interrupts,
            memory,
        }
    }

    fn set(&mut self, offset: u64, value: u32) {
        self.transport.write(offset, &value.to_le_bytes());
    }

    fn get(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.transport.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Brings the device up, with 16 entries in queue `index`.
    fn start(&mut self, index: u32, available: u64) {
        for (offset, value) in [
            (0x70, 1),
            (0x70, 2),
            (0x24, 1),
            (0x20, 1),
            (0x70, 8),
            (0x30, index),
            (0x38, 16),
            (0x80, TABLE as u32),
            (0x90, available as u32),
            (0xa0, USED as u32),
            (0x44, 1),
            (0x70, 4),
        ] {
            self.set(offset, value);
        }
        assert_eq!(self.get(0x70), 0xf);
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }

    fn descriptor(&self, index: u64, (address, length, flags, next): (u64, u32, u16, u16)) {
        let (address, length) = (address.to_le_bytes(), length.to_le_bytes());
        let rest = [flags.to_le_bytes(), next.to_le_bytes()].concat();
        self.write(TABLE + 16 * index, &[&address[..], &length, &rest].concat());
    }

    fn used(&self) -> u16 {
        self.memory.read_obj(GuestAddress(USED + 2)).unwrap()
    }
}

/// Where a request is.
const REQUEST: u64 = 0x8000;

/// Each request reads the next one from the disk, and makes it available.
#[test]
fn a_queue_that_fills_itself_does_not_keep_the_device_busy() {
    let file = disk_file(1000);
    let request = |sector: u64, available: u64| {
        let header = [&[0; 8][..], &sector.to_le_bytes()].concat();
        [&header[..], &[0; 2], &(available as u16).to_le_bytes()].concat()
    };
    for sector in 0..1000 {
        let next = request(sector + 1, sector + 2);
        file.write_all_at(&next, sector * 512).unwrap();
    }
    let mut driver = Driver::new(Block::new(file).unwrap());
    driver.start(0, REQUEST + 16);
    driver.descriptor(0, (REQUEST, 16, 1, 1));
    driver.descriptor(1, (REQUEST, 512, 3, 2));
    driver.descriptor(2, (0x9000, 1, DESCRIPTOR_WRITE, 0));
    driver.write(REQUEST, &request(0, 1));
    driver.set(0x50, 0);
    assert_eq!(driver.used(), 16);
    driver.set(0x50, 0);
    assert_eq!(driver.used(), 32);
    assert_eq!(driver.interrupts.load(Ordering::SeqCst), 2);
}

#[test]
fn a_device_stops_at_a_damaged_queue_until_it_is_reset() {
    let mut driver = Driver::new(disk(64));
    let good = |driver: &mut Driver| {
        driver.start(0, AVAILABLE);
        driver.descriptor(0, (0x4000, 16, 1, 1));
        driver.descriptor(1, (0x5000, 1, DESCRIPTOR_WRITE, 0));
        driver.write(0x4000, &[4, 0, 0, 0]);
        driver.write(AVAILABLE, &[0, 0, 1, 0]);
        driver.write(USED, &[0; 4]);
    };
    for damage in [
        (u64::MAX - 10, 100, DESCRIPTOR_WRITE, 0),
        (MEMORY_SIZE as u64 - 1, 2, DESCRIPTOR_WRITE, 0),
        (0x5000, 1, 0, 0),
        (0x5000, 0, DESCRIPTOR_WRITE, 0),
    ] {
        let before = driver.interrupts.load(Ordering::SeqCst);
        good(&mut driver);
        driver.descriptor(1, damage);
        driver.set(0x50, 0);
        assert_eq!(driver.get(0x70), 0xf | STATUS_NEEDS_RESET, "{damage:?}");
        assert_eq!(driver.get(0x60), INTERRUPT_CONFIG);
        // What comes next is not served.
        driver.descriptor(1, (0x5000, 1, DESCRIPTOR_WRITE, 0));
        driver.write(AVAILABLE, &[0, 0, 2, 0, 0, 0, 0, 0]);
        driver.set(0x50, 0);
        assert_eq!(driver.used(), 0);
        assert_eq!(driver.interrupts.load(Ordering::SeqCst), before + 1);

        driver.set(0x70, 0);
        good(&mut driver);
        driver.set(0x50, 0);
        assert_eq!(driver.get(0x60), INTERRUPT_QUEUE);
        driver.set(0x64, INTERRUPT_QUEUE);
        assert_eq!(driver.get(0x60), 0);
        driver.set(0x70, 0);
    }
}

#[test]
fn registers_cross() {
    let mut driver = Driver::new(disk(64));
    driver.start(0, AVAILABLE);
    let state = driver.transport.save().unwrap();
    let mut other = Driver::new(disk(64));
    other.transport.restore(&state).unwrap();
    assert_eq!(
        format!("{:?}", other.transport.save().unwrap()),
        format!("{state:?}")
    );
    assert_eq!(other.get(0x70), 0xf);

    let refused = |change: &dyn Fn(&mut VirtioState)| {
        let mut state = state.clone();
        change(&mut state);
        Driver::new(disk(64)).transport.restore(&state).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|state| state.rings.clear()));
    assert!(refused(&|state| state.rings[0].size = 3));
    assert!(refused(&|state| state.registers.driver_features |= 1 << 5));
    assert!(refused(&|state| state.device = example().device));
}

#[test]
fn states_are_bounded() {
    assert!(example().is_valid());
    let mut state = example();
    state.rings.push(state.rings[0]);
    assert!(!state.is_valid());
    state.rings.clear();
    state.device = DeviceState::Console {
        input: vec![0; super::console::MAX_INPUT + 1],
    };
    assert!(!state.is_valid());
}

/// What a driver may do.
#[derive(Clone, Debug)]
enum Act {
    Set(u64, u32),
    Get(u64, usize),
    Descriptor(u64, (u64, u32, u16, u16)),
    Available(u16, Vec<u8>),
    Header(u8, u64),
}

fn act() -> impl Strategy<Value = Act> {
    let address = || prop_oneof![8 => 0..0x1_1000_u64, 1 => any::<u64>()];
    let length = prop_oneof![8 => 0..0x3000_u32, 1 => any::<u32>()];
    let value = prop_oneof![
        4 => 0..16_u32,
        2 => (0..0x1000_u32).prop_map(|page| page << 4),
        1 => any::<u32>(),
    ];
    prop_oneof![
        2 => ((0..0x42_u64).prop_map(|register| 4 * register), value)
            .prop_map(|(offset, value)| Act::Set(offset, value)),
        3 => (0..3_u32).prop_map(|queue| Act::Set(0x50, queue)),
        1 => (0..0x200_u64, 0..9_usize).prop_map(|(offset, length)| Act::Get(offset, length)),
        4 => (0..16_u64, (address(), length, 0..8_u16, 0..18_u16))
            .prop_map(|(index, parts)| Act::Descriptor(index, parts)),
        2 => (0..64_u16, proptest::collection::vec(0..18_u8, 16))
            .prop_map(|(index, heads)| Act::Available(index, heads)),
        1 => (0..10_u8, 0..70_u64).prop_map(|(kind, sector)| Act::Header(kind, sector)),
    ]
}

proptest! {
    /// A driver may do anything, at any time.
    #[test]
    fn no_driver_makes_a_device_panic(
        block: bool,
        queue in 0..2_u32,
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let mut driver = if block {
            Driver::new(disk(64))
        } else {
            let mut console = Console::new(Line::default());
            console.restore(&DeviceState::Console { input: vec![7; 1000] }).unwrap();
            Driver::new(console)
        };
        driver.start(queue, AVAILABLE);
        for act in acts {
            match act {
                Act::Set(offset, value) => driver.set(offset, value),
                Act::Get(offset, length) => driver.transport.read(offset, &mut vec![0; length]),
                Act::Descriptor(index, parts) => driver.descriptor(index, parts),
                Act::Available(index, heads) => {
                    driver.write(AVAILABLE + 2, &index.to_le_bytes());
                    for (entry, head) in (0..).zip(heads) {
                        driver.write(AVAILABLE + 4 + 2 * entry, &[head, 0]);
                    }
                }
                Act::Header(kind, sector) => {
                    driver.write(REQUEST, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &sector.to_le_bytes()].concat());
                    driver.descriptor(0, (REQUEST, 16, 1, 1));
                }
            }
        }
        // What it has become can cross.
        let state = driver.transport.save().unwrap();
        let mut next = if block {
            Driver::new(disk(64))
        } else {
            Driver::new(Console::new(Line::default()))
        };
        prop_assert!(next.transport.restore(&state).is_ok());
        next.set(0x50, queue);
    }
}
