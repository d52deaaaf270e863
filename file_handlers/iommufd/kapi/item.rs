// SPDX-License-Identifier: GPL-2.0-only

//! `struct iommufd_liveupdate_item`: a part of an iommufd, in the words of the kernel.

use core::ptr::{
    null_mut,
    NonNull, //
};

use kernel::{
    fs::File,
    sync::aref::ARef, //
};

use super::bindings::{
    iommufd_liveupdate_item,
    iommufd_liveupdate_type_IOMMUFD_LIVEUPDATE_AREA as AREA,
    iommufd_liveupdate_type_IOMMUFD_LIVEUPDATE_DEVICE as DEVICE,
    iommufd_liveupdate_type_IOMMUFD_LIVEUPDATE_HWPT as HWPT,
    iommufd_liveupdate_type_IOMMUFD_LIVEUPDATE_IOAS as IOAS,
    IOMMUFD_LIVEUPDATE_AUTO as AUTO,
    IOMMUFD_LIVEUPDATE_READ as READ,
    IOMMUFD_LIVEUPDATE_SMALL_PAGES as SMALL_PAGES,
    IOMMUFD_LIVEUPDATE_WRITE as WRITE, //
};
use crate::record::{
    Mapping,
    Object, //
};

/// A part of an iommufd.
///
/// # Invariants
///
/// If `file` of the item is not null, it is an open file, and the item owns a reference to it. An area
/// has a file. As long as the item exists, nobody uses the position of the file without the lock for
/// it.
#[repr(transparent)]
pub(crate) struct Item(iommufd_liveupdate_item);

/// What an [`Item`] is.
pub(crate) enum Part<'a> {
    /// No area. A HWPT names no device yet: its `device` is 0.
    Object(Object),
    /// An area, and its file.
    Area(Mapping, &'a File),
}

/// `bit` if `is_set`.
fn flag(bit: u32, is_set: bool) -> u32 {
    if is_set {
        bit
    } else {
        0
    }
}

impl Item {
    /// An object.
    pub(crate) fn object(object: &Object) -> Self {
        let item = match *object {
            Object::Ioas { id, small_pages } => iommufd_liveupdate_item {
                type_: IOAS,
                flags: flag(SMALL_PAGES, small_pages),
                id,
                ..Default::default()
            },
            Object::Hwpt { id, ioas, auto, .. } => iommufd_liveupdate_item {
                type_: HWPT,
                flags: flag(AUTO, auto),
                id,
                parent: ioas,
                ..Default::default()
            },
            Object::Device { id, hwpt, pci } => iommufd_liveupdate_item {
                type_: DEVICE,
                id,
                parent: hwpt,
                device: pci,
                ..Default::default()
            },
        };
        // INVARIANT: It is no area, and by default there is no file.
        Self(item)
    }

    /// A part of a file that an IOAS maps.
    pub(crate) fn area(mapping: &Mapping, file: ARef<File>) -> Self {
        // INVARIANT: The file is open because of the reference, which the item owns from now on. By the
        // invariants of `File` nobody uses its position without the lock.
        Self(iommufd_liveupdate_item {
            type_: AREA,
            flags: flag(READ, mapping.read) | flag(WRITE, mapping.write),
            parent: mapping.ioas,
            iova: mapping.iova,
            length: mapping.length,
            offset: mapping.offset,
            file: ARef::into_raw(file).as_ptr().cast(),
            ..Default::default()
        })
    }

    /// Its file, if it has one.
    fn file(&self) -> Option<&File> {
        if self.0.file.is_null() {
            return None;
        }
        // SAFETY: By the type invariant the file is open as long as the item exists, and nobody uses
        // its position without the lock.
        Some(unsafe { File::from_raw_file(self.0.file) })
    }

    /// What it is. `None` if it is of a type or has flags that this module does not know.
    pub(crate) fn part(&self) -> Option<Part<'_>> {
        let item = &self.0;
        let known = match item.type_ {
            IOAS => SMALL_PAGES,
            AREA => READ | WRITE,
            HWPT => AUTO,
            _ => 0,
        };
        if item.flags & !known != 0 {
            return None;
        }
        let has = |bit| item.flags & bit != 0;
        Some(match item.type_ {
            IOAS => Part::Object(Object::Ioas {
                id: item.id,
                small_pages: has(SMALL_PAGES),
            }),
            HWPT => Part::Object(Object::Hwpt {
                id: item.id,
                ioas: item.parent,
                auto: has(AUTO),
                device: 0,
            }),
            DEVICE => Part::Object(Object::Device {
                id: item.id,
                hwpt: item.parent,
                pci: item.device,
            }),
            AREA => {
                let mapping = Mapping {
                    ioas: item.parent,
                    read: has(READ),
                    write: has(WRITE),
                    iova: item.iova,
                    length: item.length,
                    offset: item.offset,
                };
                Part::Area(mapping, self.file()?)
            }
            _ => return None,
        })
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if let Some(file) = NonNull::new(self.0.file) {
            self.0.file = null_mut();
            // SAFETY: By the type invariant the item owns a reference to the file, whose position
            // nobody uses without the lock. Nothing uses the item afterwards.
            drop(unsafe { ARef::<File>::from_raw(file.cast()) });
        }
    }
}
