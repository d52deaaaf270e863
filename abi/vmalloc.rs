// SPDX-License-Identifier: GPL-2.0-only

//! How KHO describes an area of vmalloc memory: pages that list the pages of the area
//! (`struct kho_vmalloc` in `include/linux/kho/abi/kexec_handover.h`).

use super::{
    Damage,
    PAGE_SIZE, //
};

/// The area was made by `vmalloc()`; KHO sets this for all that it can preserve.
pub(crate) const FLAG_ALLOC: u16 = 0x0001;
/// The area may be mapped by huge pages.
pub(crate) const FLAG_HUGE_VMAP: u16 = 0x0002;

/// The largest order of a part: that of the page allocator on x86.
const MAX_ORDER: u16 = 10;

record! {
    /// `struct kho_vmalloc`.
    pub(crate) struct Descriptor {
        /// First page of the list.
        pub first: u64,
        /// Pages of the area.
        pub total_pages: u32,
        /// `FLAG_*`.
        pub flags: u16,
        /// The area comes in parts of `1 << order` pages.
        pub order: u16,
    }
}

/// Bytes of the link at the start of a list page.
const LINK: usize = 8;

/// How many parts a page of the list names.
pub(crate) const PARTS_PER_CHUNK: usize = (PAGE_SIZE - LINK) / 8;

impl Descriptor {
    /// Checks flags, order and length, and tells how many parts the lists must name.
    pub(crate) fn check(&self) -> Result<usize, Damage> {
        if self.flags & !(FLAG_ALLOC | FLAG_HUGE_VMAP) != 0 || self.order > MAX_ORDER {
            return Err(Damage::ArrayForm);
        }
        if self.total_pages == 0 || self.total_pages % (1 << self.order) != 0 {
            return Err(Damage::ArrayForm);
        }
        Ok((self.total_pages >> self.order) as usize)
    }
}

/// How many list pages there may be at the most for so many parts.
pub(crate) fn lists_for(parts: usize) -> usize {
    // When the last page of the list is full, KHO has begun an empty one after it.
    parts / PARTS_PER_CHUNK + 1
}

/// The address of the list page that follows `chunk`.
pub(crate) fn next(chunk: &[u8]) -> u64 {
    super::record::Field::load(chunk)
}

/// Sets the list page that follows `chunk`.
pub(crate) fn set_next(chunk: &mut [u8], next: u64) {
    super::record::Field::store(&next, chunk);
}

/// The address of part `i` in a list page; 0 ends the list.
pub(crate) fn part(chunk: &[u8], i: usize) -> u64 {
    super::record::Field::load(chunk.get(LINK + i * 8..).unwrap_or_default())
}

/// Sets the address of part `i` in a list page.
pub(crate) fn set_part(chunk: &mut [u8], i: usize, at: u64) {
    super::record::Field::store(&at, chunk.get_mut(LINK + i * 8..).unwrap_or_default());
}
