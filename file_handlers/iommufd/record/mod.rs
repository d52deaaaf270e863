// SPDX-License-Identifier: GPL-2.0-only

//! What the next kernel is told about an iommufd: its objects, and which part of which file each IOAS
//! maps.
//!
//! ```text
//!   data of the file
//!    63                                        12 11           0
//!   ┌────────────────────────────────────────────┬─────────────┐
//!   │ address of the memory, a multiple of 4 KiB │    order    │   it has 4 KiB << order
//!   └────────────────────────────────────────────┴─────────────┘
//!
//!   the memory
//!   0       8         12      16       40                 16 + 24 * objects
//!   ┌───────┬─────────┬───────┬────────┬────────┬─────┬──────┬──────┬─────┬───────┐
//!   │ magic │ objects │ areas │ object │ object │ ... │ area │ area │ ... │ zeros │
//!   └───────┴─────────┴───────┴────────┴────────┴─────┴──────┴──────┴─────┴───────┘
//!
//!   an object, 24 bytes, and what its fields mean for each type
//!   0      4       8    12           16                              24
//!   ┌──────┬───────┬────┬────────────┬───────────────────────────────┐
//!   │ type │ flags │ ID │   parent   │            device             │
//!   ├──────┼───────┼────┼────────────┼───────────────────────────────┤
//!   │ IOAS │ small │    │     0      │               0               │
//!   │ HWPT │ auto  │    │ ID of IOAS │ ID of one that is attached    │
//!   │device│   0   │    │ of HWPT, 0 │ which it is, see vfio-pci-v1  │
//!   └──────┴───────┴────┴────────────┴───────────────────────────────┘
//!
//!   an area, 40 bytes
//!   0       4            8      16       24                 32      40
//!   ┌───────┬────────────┬──────┬────────┬──────────────────┬───────┐
//!   │ flags │ ID of IOAS │ IOVA │ length │ offset in a file │ token │
//!   └───────┴────────────┴──────┴────────┴──────────────────┴───────┘
//! ```
//!
//! All integers are in native byte order. Objects are in ascending order of ID. So an ID is not there
//! twice, and parents are found by binary search. Areas are in ascending order of the ID of their IOAS,
//! and those of an IOAS in ascending order of IOVA. So overlaps are found by comparing neighbors. No
//! area ends after the last IOVA, or where no file can. The HWPT names a device because it cannot be made
//! again without one.
//!
//! The order of the memory is in the data, because memory is claimed before it is read, and a claim has
//! to name the size. Memory that crosses has a power of two of pages, at most 4 MiB: 104,857 areas.
//!
//! A [`Record`] is only made of memory in which all of that holds. These files use `core` and nothing
//! else; `host/` tests them.

mod entry;

use core::{
    cmp::Ordering,
    slice::ChunksExactMut, //
};

pub(crate) use entry::{
    Area,
    Mapping,
    Object, //
};

use entry::{
    put,
    u32_at, //
};

/// The name and version of the format.
pub(crate) const COMPATIBLE: &str = "iommufd-v1";

/// Begins the memory.
const MAGIC: [u8; 8] = *b"iommufd1";

/// The size of a page in bytes.
pub(crate) const PAGE_SIZE: usize = 4096;

/// The order of the largest piece of memory that crosses.
const MAX_ORDER: u32 = 10;

/// Bytes before the first object.
const HEADER: usize = 16;

/// What is wrong with a record, in words for the log.
pub(crate) type Why = &'static str;

/// Where the memory of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its physical address, a multiple of the page size.
    pub(crate) addr: u64,
    /// Its size in bytes, a power of two of pages.
    pub(crate) size: usize,
}

impl Place {
    /// Reads the data of a file.
    pub(crate) fn from_data(data: u64) -> Result<Self, Why> {
        let in_page = PAGE_SIZE as u64 - 1;
        let addr = data & !in_page;
        let order = (data & in_page) as u32;
        if addr == 0 {
            return Err("it has no record");
        }
        if order > MAX_ORDER {
            return Err("its record is larger than memory that crosses can be");
        }
        Ok(Self {
            addr,
            size: PAGE_SIZE << order,
        })
    }

    /// The data of the file.
    pub(crate) fn to_data(self) -> u64 {
        self.addr | u64::from((self.size / PAGE_SIZE).trailing_zeros())
    }
}

/// How many bytes a record takes. `None` if there is no such number.
pub(crate) fn size(objects: usize, areas: usize) -> Option<usize> {
    let objects = objects.checked_mul(Object::SIZE)?;
    let areas = areas.checked_mul(Area::SIZE)?;
    HEADER.checked_add(objects)?.checked_add(areas)
}

/// Writes a record. It does not check what it is given: [`Record::new`] does.
pub(crate) struct Writer<'a> {
    objects: ChunksExactMut<'a, u8>,
    areas: ChunksExactMut<'a, u8>,
}

impl<'a> Writer<'a> {
    /// Begins a record of `objects` objects and `areas` areas, in memory of zeros. `None` if the memory
    /// is too small.
    pub(crate) fn new(memory: &'a mut [u8], objects: usize, areas: usize) -> Option<Self> {
        let used = memory.get_mut(..size(objects, areas)?)?;
        put(used, 0, MAGIC);
        put(used, 8, u32::try_from(objects).ok()?.to_ne_bytes());
        put(used, 12, u32::try_from(areas).ok()?.to_ne_bytes());
        let (_, entries) = used.split_at_mut_checked(HEADER)?;
        let (objects, areas) = entries.split_at_mut_checked(objects * Object::SIZE)?;
        Some(Self {
            objects: objects.chunks_exact_mut(Object::SIZE),
            areas: areas.chunks_exact_mut(Area::SIZE),
        })
    }

    /// Adds an object. `None` if there are more than were announced.
    pub(crate) fn object(&mut self, object: &Object) -> Option<()> {
        object.store(self.objects.next()?);
        Some(())
    }

    /// Adds an area. `None` if there are more than were announced.
    pub(crate) fn area(&mut self, area: &Area) -> Option<()> {
        area.store(self.areas.next()?);
        Some(())
    }
}

/// A record of the previous kernel, or one that was written just now.
///
/// # Invariants
///
/// `objects` are objects in ascending order of ID, each of which `Object::load()` reads. `areas` are
/// areas, each of which `Area::load()` reads, in the order that the module documentation describes, and
/// none of them overlaps another. IDs that they name are those of objects of the right type, and each
/// HWPT names a device that is attached to it.
pub(crate) struct Record<'a> {
    objects: &'a [u8],
    areas: &'a [u8],
}

impl<'a> Record<'a> {
    /// Checks all of the memory of a record.
    pub(crate) fn new(memory: &'a [u8]) -> Result<Self, Why> {
        if memory.first_chunk() != Some(&MAGIC) {
            return Err("its record is of another version");
        }
        let [objects, areas] = [8, 12].map(|at| u32_at(memory, at) as usize);
        let (used, rest) = size(objects, areas)
            .and_then(|size| memory.split_at_checked(size))
            .ok_or("its record is larger than its memory")?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err("something follows its record");
        }
        let entries = used.get(HEADER..).unwrap_or_default();
        let (objects, areas) = entries
            .split_at_checked(objects * Object::SIZE)
            .unwrap_or_default();
        let record = Self { objects, areas };
        record.check_ids()?;
        record.check_objects()?;
        record.check_areas()?;
        // INVARIANT: The three functions check all of that.
        Ok(record)
    }

    /// How many objects and areas it has.
    pub(crate) fn len(&self) -> usize {
        self.objects.len() / Object::SIZE + self.areas.len() / Area::SIZE
    }

    /// All objects, in ascending order of ID.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Object> + 'a {
        let objects = self.objects.chunks_exact(Object::SIZE);
        // By the type invariant all of them can be read.
        objects.filter_map(|bytes| Object::load(bytes).ok())
    }

    /// All areas, in ascending order of the ID of their IOAS and their IOVA.
    pub(crate) fn areas(&self) -> impl Iterator<Item = Area> + 'a {
        let areas = self.areas.chunks_exact(Area::SIZE);
        // By the type invariant all of them can be read.
        areas.filter_map(|bytes| Area::load(bytes).ok())
    }

    /// The object of an ID.
    fn find(&self, id: u32) -> Option<Object> {
        let (mut low, mut high) = (0, self.objects.len() / Object::SIZE);
        while low < high {
            let middle = low + (high - low) / 2;
            let object = Object::load(self.objects.get(middle * Object::SIZE..)?).ok()?;
            match object.id().cmp(&id) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(object),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn has_ioas(&self, id: u32) -> bool {
        matches!(self.find(id), Some(Object::Ioas { .. }))
    }

    /// Fails unless all objects can be read, and their IDs ascend.
    fn check_ids(&self) -> Result<(), Why> {
        let mut last = 0;
        for bytes in self.objects.chunks_exact(Object::SIZE) {
            let id = Object::load(bytes)?.id();
            if id <= last {
                return Err("its objects are not in the order of their IDs");
            }
            last = id;
        }
        Ok(())
    }

    /// Fails unless the objects that objects name are there. [`Record::check_ids`] has succeeded.
    fn check_objects(&self) -> Result<(), Why> {
        for object in self.objects() {
            match object {
                Object::Ioas { .. } | Object::Device { hwpt: 0, .. } => {}
                Object::Hwpt {
                    id, ioas, device, ..
                } => {
                    if !self.has_ioas(ioas) {
                        return Err("a page table belongs to no IOAS");
                    }
                    let is_attached =
                        |device| matches!(device, Object::Device { hwpt, .. } if hwpt == id);
                    if !self.find(device).is_some_and(is_attached) {
                        return Err("no device is attached to a page table");
                    }
                }
                Object::Device { hwpt, .. } => {
                    if !matches!(self.find(hwpt), Some(Object::Hwpt { .. })) {
                        return Err("a device is attached to what is no page table");
                    }
                }
            }
        }
        Ok(())
    }

    /// Fails unless all areas can be read and belong to an IOAS, and each ends before the next one
    /// begins. [`Record::check_ids`] has succeeded.
    fn check_areas(&self) -> Result<(), Why> {
        let mut last: Option<Mapping> = None;
        for bytes in self.areas.chunks_exact(Area::SIZE) {
            let mapping = Area::load(bytes)?.mapping;
            // Those of an IOAS follow each other.
            if last.is_none_or(|last| last.ioas != mapping.ioas) && !self.has_ioas(mapping.ioas) {
                return Err("an area belongs to no IOAS");
            }
            if last.is_some_and(|last| !last.is_before(&mapping)) {
                return Err("areas overlap, or are not in the order of their IOVAs");
            }
            last = Some(mapping);
        }
        Ok(())
    }
}
