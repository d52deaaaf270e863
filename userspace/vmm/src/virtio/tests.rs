// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The devices against a driver that is played here.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use virtio_queue::desc::{split::Descriptor, RawDescriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::block::Block;
use super::console::{Console, Line};
use super::{Device, DeviceState, Ring};

const DESCRIPTOR_WRITE: u16 = 2;
const DATA: u64 = 0x10_0000;
const STEP: u64 = 0x1_0000;

/// A part of a request: bytes for the device, or room that it may write to.
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

fn disk(sectors: u64) -> Block {
    let file = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, sectors * 512 + 100).unwrap();
    Block::new(file.into()).unwrap()
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
    // What the guest has no room for crosses the kexec.
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

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..600).prop_map(Part::Out),
        (1..600_usize).prop_map(Part::In),
    ]
}

proptest! {
    /// A driver may send anything.
    #[test]
    fn no_request_makes_a_device_panic(
        begin in prop_oneof![
            (0..10_u32, 0..70_u64).prop_map(|(kind, sector)| header(kind, sector)),
            part(),
        ],
        rest in proptest::collection::vec(part(), 0..5),
    ) {
        let parts = [&[begin][..], &rest].concat();
        // The parts that a device reads come first.
        let (mut outs, ins): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| matches!(part, Part::Out(_)));
        outs.extend(ins);
        let mut disk = disk(64);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        let driver = MockSplitQueue::new(&memory, 16);
        let descriptors: Vec<RawDescriptor> = (0..)
            .zip(&outs)
            .map(|(number, part)| {
                let address = DATA + number * STEP;
                match part {
                    Part::Out(bytes) => {
                        memory.write_slice(bytes, GuestAddress(address)).unwrap();
                        Descriptor::new(address, bytes.len() as u32, 0, 0).into()
                    }
                    Part::In(length) =>
                        Descriptor::new(address, *length as u32, DESCRIPTOR_WRITE, 0).into(),
                }
            })
            .collect();
        driver.build_desc_chain(&descriptors).unwrap();
        for index in [0, 1] {
            let mut queue: Queue = driver.create_queue().unwrap();
            let _ = disk.process(0, &mut queue, &memory);
            let mut console = Console::new(Line::default());
            console.restore(&DeviceState::Console { input: vec![7; 100] }).unwrap();
            let mut queue: Queue = driver.create_queue().unwrap();
            let _ = console.process(index, &mut queue, &memory);
        }
    }
}
