// SPDX-License-Identifier: GPL-2.0-only

//! What crosses for an iommufd: a record comes back as it was, is laid out as documented, and is refused
//! if anything in it is wrong.

// The tests do not use every item of the module.
#[allow(dead_code)]
#[path = "../../file_handlers/iommufd/record/mod.rs"]
mod record;

use proptest::prelude::*;

use record::{size, Area, Mapping, Object, Place, Record, Writer, COMPATIBLE, PAGE_SIZE};

const PAGE: u64 = PAGE_SIZE as u64;

/// Where objects and areas of [`valid`] begin, in bytes.
const OBJECTS: usize = 16;
const AREAS: usize = OBJECTS + 24 * 5;

fn mapping(ioas: u32, iova: u64, length: u64) -> Mapping {
    Mapping {
        ioas,
        read: true,
        write: true,
        iova,
        length,
        offset: 2 * PAGE,
    }
}

fn area(mapping: Mapping) -> Area {
    Area { mapping, token: 7 }
}

/// The memory of a record, a page with zeros after the record. It need not be valid.
fn write(objects: &[Object], areas: &[Area]) -> Vec<u8> {
    let size = size(objects.len(), areas.len()).expect("tests use few entries");
    let mut memory = vec![0; size.next_multiple_of(PAGE_SIZE)];
    let mut writer =
        Writer::new(&mut memory, objects.len(), areas.len()).expect("the memory is large enough");
    for object in objects {
        writer.object(object).expect("it was announced");
    }
    for area in areas {
        writer.area(area).expect("it was announced");
    }
    memory
}

/// Two devices share a page table of the second IOAS. A third one is bound only.
fn objects() -> [Object; 5] {
    [
        Object::Ioas {
            id: 1,
            small_pages: true,
        },
        Object::Hwpt {
            id: 2,
            ioas: 3,
            auto: true,
            device: 5,
        },
        Object::Ioas {
            id: 3,
            small_pages: false,
        },
        Object::Device {
            id: 4,
            hwpt: 0,
            pci: 0x0000_0018_8086_100e,
        },
        Object::Device {
            id: 5,
            hwpt: 2,
            pci: 0x0000_0020_8086_100e,
        },
    ]
}

/// Neighbors, a gap, and the same IOVA in another IOAS.
fn areas() -> [Area; 4] {
    let read_only = Mapping {
        write: false,
        ..mapping(1, PAGE, PAGE)
    };
    let write_only = Mapping {
        read: false,
        ..mapping(3, PAGE, 4 * PAGE)
    };
    [
        area(read_only),
        area(mapping(1, 2 * PAGE, PAGE)),
        area(mapping(1, 9 * PAGE, PAGE)),
        area(write_only),
    ]
}

fn valid() -> Vec<u8> {
    write(&objects(), &areas())
}

fn why(memory: &[u8]) -> &'static str {
    Record::new(memory).err().unwrap_or("it is valid")
}

/// Why the record of these is refused.
fn why_not(objects: &[Object], areas: &[Area]) -> &'static str {
    why(&write(objects, areas))
}

/// Why [`valid`] is refused after bytes of it were replaced.
fn why_with(at: usize, bytes: &[u8]) -> &'static str {
    let mut memory = valid();
    memory[at..at + bytes.len()].copy_from_slice(bytes);
    why(&memory)
}

fn u32_at(memory: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(memory[at..at + 4].try_into().unwrap())
}

fn u64_at(memory: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(memory[at..at + 8].try_into().unwrap())
}

#[test]
fn the_name_fits_in_the_field() {
    assert!((1..48).contains(&COMPATIBLE.len()));
}

#[test]
fn data_has_address_and_order() {
    for (size, order) in [(PAGE_SIZE, 0), (2 * PAGE_SIZE, 1), (1024 * PAGE_SIZE, 10)] {
        let place = Place {
            addr: 0xffff_f000,
            size,
        };
        assert_eq!(place.to_data(), 0xffff_f000 + order);
        assert_eq!(Place::from_data(place.to_data()), Ok(place));
    }
}

#[test]
fn data_of_no_record_is_refused() {
    for data in [0, 1, 10, 0xfff] {
        assert_eq!(Place::from_data(data), Err("it has no record"));
    }
    for order in [11, 12, 63, 64, 0xfff] {
        assert_eq!(
            Place::from_data(PAGE | order),
            Err("its record is larger than memory that crosses can be")
        );
    }
}

#[test]
fn a_record_comes_back() {
    let memory = valid();
    let record = Record::new(&memory).unwrap();
    assert_eq!(record.len(), 9);
    assert!(record.objects().eq(objects()));
    assert!(record.areas().eq(areas()));
}

#[test]
fn an_iommufd_can_be_empty() {
    let memory = write(&[], &[]);
    let record = Record::new(&memory).unwrap();
    assert_eq!(record.len(), 0);
    assert_eq!(record.objects().count() + record.areas().count(), 0);
}

#[test]
fn fields_are_where_the_picture_has_them() {
    let memory = valid();
    assert_eq!(&memory[..8], b"iommufd1");
    assert_eq!([8, 12].map(|at| u32_at(&memory, at)), [5, 4]);
    let object = |nr: usize| {
        let at = OBJECTS + 24 * nr;
        let words = [0, 4, 8, 12].map(|field| u32_at(&memory, at + field));
        (words, u64_at(&memory, at + 16))
    };
    assert_eq!(object(0), ([1, 1, 1, 0], 0));
    assert_eq!(object(1), ([2, 1, 2, 3], 5));
    assert_eq!(object(2), ([1, 0, 3, 0], 0));
    assert_eq!(object(4), ([3, 0, 5, 2], 0x0000_0020_8086_100e));
    let area = |nr: usize| {
        let at = AREAS + 40 * nr;
        let words = [0, 4].map(|field| u32_at(&memory, at + field));
        let more = [8, 16, 24, 32].map(|field| u64_at(&memory, at + field));
        (words, more)
    };
    assert_eq!(area(0), ([1, 1], [PAGE, PAGE, 2 * PAGE, 7]));
    assert_eq!(area(1), ([3, 1], [2 * PAGE, PAGE, 2 * PAGE, 7]));
    assert_eq!(area(3), ([2, 3], [PAGE, 4 * PAGE, 2 * PAGE, 7]));
}

#[test]
fn the_writer_takes_what_was_announced() {
    assert!(Writer::new(&mut [0; 15], 0, 0).is_none());
    assert!(Writer::new(&mut [0; 16 + 24 + 40 - 1], 1, 1).is_none());
    assert!(Writer::new(&mut [0; 16], usize::MAX, 0).is_none());
    let mut memory = [0; 16 + 24 + 40];
    let mut writer = Writer::new(&mut memory, 1, 1).unwrap();
    assert!(writer.object(&objects()[0]).is_some());
    assert!(writer.object(&objects()[0]).is_none());
    assert!(writer.area(&areas()[0]).is_some());
    assert!(writer.area(&areas()[0]).is_none());
    assert!(Record::new(&memory).is_ok());
}

#[test]
fn another_version_is_refused() {
    assert_eq!(why(&[]), "its record is of another version");
    assert_eq!(why(b"iommufd"), "its record is of another version");
    assert_eq!(why_with(7, b"2"), "its record is of another version");
}

#[test]
fn counts_must_fit_in_the_memory() {
    let expected = "its record is larger than its memory";
    assert_eq!(why(b"iommufd1"), expected);
    let memory = valid();
    assert_eq!(why(&memory[..AREAS + 4 * 40 - 1]), expected);
    assert_eq!(why(&memory[..AREAS + 4 * 40]), "it is valid");
    for at in [8, 12] {
        assert_eq!(why_with(at, &u32::MAX.to_ne_bytes()), expected);
    }
}

#[test]
fn nothing_follows_the_record() {
    let expected = "something follows its record";
    assert_eq!(why_with(AREAS + 4 * 40, &[1]), expected);
    assert_eq!(why_with(PAGE_SIZE - 1, &[1]), expected);
    // An area that is not counted.
    assert_eq!(why_with(12, &3_u32.to_ne_bytes()), expected);
}

#[test]
fn ids_are_those_that_iommufd_gives() {
    for id in [0, i32::MAX as u32 + 1, u32::MAX] {
        let ioas = Object::Ioas {
            id,
            small_pages: false,
        };
        assert_eq!(
            why_not(&[ioas], &[]),
            "an object has an ID that iommufd never gives"
        );
    }
    let last = Object::Ioas {
        id: i32::MAX as u32,
        small_pages: false,
    };
    assert_eq!(why_not(&[last], &[]), "it is valid");
}

#[test]
fn ids_ascend() {
    let expected = "its objects are not in the order of their IDs";
    let [first, second, third, ..] = objects();
    assert_eq!(why_not(&[first, first], &[]), expected);
    assert_eq!(why_not(&[third, first], &[]), expected);
    // An ID that two objects of different types have.
    let device = Object::Device {
        id: second.id(),
        hwpt: 0,
        pci: 0,
    };
    assert_eq!(why_not(&[first, second, device, third], &[]), expected);
}

#[test]
fn types_and_flags_are_known() {
    let expected = "it has an object of an unknown type";
    for kind in [0_u32, 4, u32::MAX] {
        assert_eq!(why_with(OBJECTS, &kind.to_ne_bytes()), expected);
    }
    let expected = "it has unknown flags";
    // IOAS, HWPT, device, area
    for (at, flag) in [
        (OBJECTS, 2_u32),
        (OBJECTS + 24, 2),
        (OBJECTS + 3 * 24, 1),
        (AREAS - 4, 4),
    ] {
        assert_eq!(why_with(at + 4, &flag.to_ne_bytes()), expected, "at {at}");
        let last = 1_u32 << 31;
        assert_eq!(why_with(at + 4, &last.to_ne_bytes()), expected, "at {at}");
    }
}

#[test]
fn fields_without_use_are_zero() {
    let expected = "an IOAS has a parent or a device";
    assert_eq!(why_with(OBJECTS + 12, &[1]), expected);
    assert_eq!(why_with(OBJECTS + 16, &[1]), expected);
    assert_eq!(why_with(OBJECTS + 23, &[1]), expected);
}

#[test]
fn a_page_table_has_an_ioas() {
    let expected = "a page table belongs to no IOAS";
    // None, itself, a device, an ID that no object has.
    for ioas in [0_u32, 2, 4, 6] {
        assert_eq!(why_with(OBJECTS + 24 + 12, &ioas.to_ne_bytes()), expected);
    }
}

#[test]
fn a_page_table_has_a_device() {
    let expected = "no device is attached to a page table";
    // None, an IOAS, itself, one that is not attached, an ID that no object has, one with more bits.
    for device in [0_u64, 1, 2, 4, 6, 1 << 32 | 5] {
        assert_eq!(why_with(OBJECTS + 24 + 16, &device.to_ne_bytes()), expected);
    }
    // One that is attached to another page table.
    let [ioas, _, _, _, device] = objects();
    let hwpt = |id| Object::Hwpt {
        id,
        ioas: 1,
        auto: false,
        device: 5,
    };
    assert_eq!(why_not(&[ioas, hwpt(2), device], &[]), "it is valid");
    assert_eq!(why_not(&[ioas, hwpt(2), hwpt(3), device], &[]), expected);
}

#[test]
fn a_device_is_attached_to_a_page_table() {
    // An IOAS, itself, an ID that no object has.
    for hwpt in [1_u32, 4, 6] {
        assert_eq!(
            why_with(OBJECTS + 3 * 24 + 12, &hwpt.to_ne_bytes()),
            "a device is attached to what is no page table"
        );
    }
}

#[test]
fn an_area_can_be_read_or_written() {
    assert_eq!(
        why_with(AREAS, &0_u32.to_ne_bytes()),
        "an area can be neither read nor written"
    );
}

#[test]
fn an_area_has_a_length() {
    assert_eq!(
        why_with(AREAS + 16, &0_u64.to_ne_bytes()),
        "an area is empty"
    );
}

/// What is wrong with an area at these places.
fn why_area(iova: u64, offset: u64, length: u64) -> &'static str {
    let mapping = Mapping {
        iova,
        offset,
        ..mapping(1, 0, length)
    };
    why_not(&[objects()[0]], &[area(mapping)])
}

#[test]
fn an_area_has_an_end() {
    let expected = "an area has no end";
    let last = u64::MAX - PAGE + 1;
    assert_eq!(why_area(last, 0, PAGE), "it is valid");
    assert_eq!(why_area(last + 1, 0, PAGE), expected);
    assert_eq!(why_area(2, 0, u64::MAX), expected);
}

#[test]
fn an_area_is_in_a_file() {
    let expected = "an area ends where no file can";
    let end = 1 << 63;
    assert_eq!(why_area(0, 0, end), "it is valid");
    assert_eq!(why_area(0, end - PAGE, PAGE), "it is valid");
    assert_eq!(why_area(0, end - PAGE, PAGE + 1), expected);
    assert_eq!(why_area(0, u64::MAX, PAGE), expected);
    // iommufd would round the sum up to 0 pages.
    assert_eq!(why_area(0, PAGE - 1, u64::MAX - PAGE), expected);
}

#[test]
fn an_area_has_an_ioas() {
    let expected = "an area belongs to no IOAS";
    // None, a page table, a device, an ID that no object has.
    for ioas in [0, 2, 4, 6] {
        let only = [area(mapping(ioas, PAGE, PAGE))];
        assert_eq!(why_not(&objects(), &only), expected);
    }
    let last = [areas()[0], area(mapping(6, PAGE, PAGE))];
    assert_eq!(why_not(&objects(), &last), expected);
}

#[test]
fn areas_ascend_and_do_not_overlap() {
    let expected = "areas overlap, or are not in the order of their IOVAs";
    let both = |first, second| why_not(&objects(), &[area(first), area(second)]);
    let first = mapping(1, 4 * PAGE, 2 * PAGE);
    assert_eq!(both(first, first), expected);
    assert_eq!(both(first, mapping(1, 6 * PAGE - 1, PAGE)), expected);
    assert_eq!(both(first, mapping(1, 6 * PAGE, PAGE)), "it is valid");
    assert_eq!(both(first, mapping(1, 0, PAGE)), expected);
    assert_eq!(both(first, mapping(3, 0, PAGE)), "it is valid");
    assert_eq!(both(mapping(3, 0, PAGE), first), expected);
    let to_the_end = mapping(1, u64::MAX - PAGE + 1, PAGE);
    assert_eq!(both(to_the_end, first), expected);
    assert_eq!(both(to_the_end, to_the_end), expected);
}

/// Objects that a record can have: IOAS, each of which maybe has page tables with a device each.
fn any_objects() -> impl Strategy<Value = Vec<Object>> {
    let ioas = (
        any::<bool>(),
        prop::collection::vec(any::<(bool, u64)>(), 0..3),
    );
    let unattached = prop::collection::vec(any::<u64>(), 0..3);
    (prop::collection::vec(ioas, 1..6), unattached).prop_map(|(all, unattached)| {
        let mut objects = Vec::new();
        let mut id = 0;
        let mut next = || {
            id += 7;
            id
        };
        for (small_pages, hwpts) in all {
            let ioas = next();
            objects.push(Object::Ioas {
                id: ioas,
                small_pages,
            });
            for (auto, pci) in hwpts {
                let (hwpt, device) = (next(), next());
                objects.push(Object::Hwpt {
                    id: hwpt,
                    ioas,
                    auto,
                    device,
                });
                objects.push(Object::Device {
                    id: device,
                    hwpt,
                    pci,
                });
            }
        }
        objects.extend(unattached.into_iter().map(|pci| Object::Device {
            id: next(),
            hwpt: 0,
            pci,
        }));
        objects
    })
}

/// Areas that an IOAS can have.
fn any_areas() -> impl Strategy<Value = Vec<Area>> {
    let one = (
        0..3_u64,
        1..1_u64 << 40,
        0..3_u32,
        any::<u32>(),
        any::<u64>(),
    );
    prop::collection::vec(one, 0..5).prop_map(|all| {
        let mut iova = 0;
        let area = |(gap, length, access, offset, token)| {
            iova += gap;
            let mapping = Mapping {
                ioas: 7,
                read: access != 1,
                write: access != 0,
                iova,
                length,
                offset: u64::from(offset),
            };
            iova += length;
            Area { mapping, token }
        };
        all.into_iter().map(area).collect()
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(objects in any_objects(), areas in any_areas()) {
        let memory = write(&objects, &areas);
        let record = Record::new(&memory).unwrap();
        prop_assert_eq!(record.len(), objects.len() + areas.len());
        prop_assert!(record.objects().eq(objects));
        prop_assert!(record.areas().eq(areas));
    }

    /// Whatever is in the memory, nothing panics, and what is valid is read completely.
    #[test]
    fn damage_is_survived(at in 0..AREAS + 4 * 40, byte: u8, len in 0..PAGE_SIZE) {
        let mut memory = valid();
        memory[at] = byte;
        let memory = &memory[..len.max(at)];
        if let Ok(record) = Record::new(memory) {
            prop_assert_eq!(record.objects().count() + record.areas().count(), record.len());
        }
    }

    #[test]
    fn place_is_read_as_it_was_written(page in 1_u64..1 << 52, order in 0..11_u32) {
        let place = Place { addr: page * PAGE, size: PAGE_SIZE << order };
        prop_assert_eq!(Place::from_data(place.to_data()), Ok(place));
    }

    #[test]
    fn any_data_is_a_place_or_refused(data: u64) {
        if let Ok(place) = Place::from_data(data) {
            prop_assert_eq!(place.to_data(), data);
        }
    }
}
