// SPDX-License-Identifier: GPL-2.0-only

//! What crosses for a device of VFIO: the record comes back as it was, and is laid out as documented.

#[path = "../../file_handlers/vfio/record.rs"]
mod record;

use proptest::prelude::*;

use record::{Ids, Location, Record, COMPATIBLE};

/// An e1000 in QEMU.
const NIC: Record = Record {
    at: Location {
        segment: 0,
        bdf: 0x0018,
    },
    ids: Ids {
        vendor: 0x8086,
        device: 0x100e,
    },
};

#[test]
fn the_name_fits_in_the_field() {
    assert!((1..48).contains(&COMPATIBLE.len()));
}

#[test]
fn fields_are_where_the_picture_has_them() {
    assert_eq!(NIC.to_data(), 0x0000_0018_8086_100e);
    let data = 0x0123_4567_89ab_cdef;
    let record = Record::from_data(data);
    assert_eq!(record.at.segment, 0x0123);
    assert_eq!(record.at.bdf, 0x4567);
    assert_eq!(record.ids.vendor, 0x89ab);
    assert_eq!(record.ids.device, 0xcdef);
}

#[test]
fn a_location_is_written_as_the_kernel_does() {
    assert_eq!(NIC.at.to_string(), "0000:00:03.0");
    let last = Location {
        segment: 0xffff,
        bdf: 0xffff,
    };
    assert_eq!(last.to_string(), "ffff:ff:1f.7");
    assert_eq!(NIC.ids.to_string(), "8086:100e");
}

proptest! {
    #[test]
    fn data_is_read_as_it_was_written(segment: u16, bdf: u16, vendor: u16, device: u16) {
        let record = Record {
            at: Location { segment, bdf },
            ids: Ids { vendor, device },
        };
        prop_assert_eq!(Record::from_data(record.to_data()), record);
        prop_assert_eq!(u16::from(record.at.bus()) << 8 | u16::from(record.at.devfn()), bdf);
    }

    #[test]
    fn any_data_is_a_record(data: u64) {
        prop_assert_eq!(Record::from_data(data).to_data(), data);
    }
}
