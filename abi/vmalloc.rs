// SPDX-License-Identifier: GPL-2.0-only

//! How KHO describes an area of vmalloc memory: a list of chunks that name its pages.
//!
//! [`include/linux/kho/abi/kexec_handover.h`](srctree/include/linux/kho/abi/kexec_handover.h) is the
//! authority: `struct kho_vmalloc` and `struct kho_vmalloc_chunk`. The picture is in
//! [`array`](super::array).

use super::{
    record::Field,
    units::Order,
    Damage,
    PhysAddr,
    PAGE_SIZE, //
};

/// The area was made by `vmalloc()`; KHO sets this for every area that it can preserve.
pub(crate) const FLAG_ALLOC: u16 = 0x0001;
/// The area may be mapped by huge pages.
pub(crate) const FLAG_HUGE_VMAP: u16 = 0x0002;

record! {
    /// `struct kho_vmalloc`.
    pub(crate) struct Descriptor {
        /// The first chunk.
        pub first: u64,
        /// Pages of the area.
        pub total_pages: u32,
        /// `FLAG_*`.
        pub flags: u16,
        /// Each address in a chunk is that of `1 << order` pages.
        pub order: u16,
    }
}

/// Bytes of the link at the start of a chunk.
const LINK: usize = 8;

/// How many addresses a chunk names.
pub(crate) const PAGES_PER_CHUNK: usize = (PAGE_SIZE - LINK) / 8;

/// The form of an area, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// How many addresses the chunks must name.
    pub(crate) pages: usize,
    /// The order of the pages at each.
    pub(crate) order: Order,
}

impl Descriptor {
    /// Checks flags, order and length.
    pub(crate) fn check(&self) -> Result<Area, Damage> {
        let order = Order::new(self.order.into()).ok_or(Damage::ArrayForm)?;
        let total = u64::from(self.total_pages);
        if self.flags & !(FLAG_ALLOC | FLAG_HUGE_VMAP) != 0
            || total == 0
            || total & (order.pages() - 1) != 0
        {
            return Err(Damage::ArrayForm);
        }
        Ok(Area {
            pages: (total >> order.get()) as usize,
            order,
        })
    }
}

/// The largest number of chunks for that many addresses.
pub(crate) fn max_chunks(pages: usize) -> usize {
    // When the last chunk is full, KHO has already begun an empty one after it.
    pages / PAGES_PER_CHUNK + 1
}

/// The chunk that follows `chunk`; null for the last.
pub(crate) fn next(chunk: &[u8]) -> PhysAddr {
    PhysAddr(Field::load(chunk))
}

/// Sets the chunk that follows `chunk`.
pub(crate) fn set_next(chunk: &mut [u8], next: PhysAddr) {
    next.0.store(chunk);
}

/// Address number `slot` of a chunk; null after the last.
pub(crate) fn page(chunk: &[u8], slot: usize) -> PhysAddr {
    if slot >= PAGES_PER_CHUNK {
        return PhysAddr(0);
    }
    let bytes = chunk.get(LINK + slot * 8..);
    PhysAddr(Field::load(bytes.unwrap_or_default()))
}

/// Sets address number `slot`, which is less than [`PAGES_PER_CHUNK`], of a chunk.
pub(crate) fn set_page(chunk: &mut [u8], slot: usize, at: PhysAddr) {
    let bytes = chunk.get_mut(LINK + slot * 8..);
    at.0.store(bytes.unwrap_or_default());
}
