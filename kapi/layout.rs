// SPDX-License-Identifier: GPL-2.0-only

//! Compares the layouts of `abi/` with the C headers of the kernel that is built against.

use super::bindings as c;
use crate::abi::{
    chain::BlockHeader,
    luo,
    memfd,
    vmalloc,
    Record,
    PAGE_SIZE, //
};

const _: () = {
    assert!(PAGE_SIZE == kernel::page::PAGE_SIZE);
    assert!(BlockHeader::SIZE == size_of::<c::kho_block_header_ser>());
    assert!(luo::Root::SIZE == size_of::<c::luo_ser>());
    assert!(luo::SessionEntry::SIZE == size_of::<c::luo_session_ser>());
    assert!(luo::FileEntry::SIZE == size_of::<c::luo_file_ser>());
    assert!(luo::FlbHeader::SIZE == size_of::<c::luo_flb_header_ser>());
    assert!(memfd::Header::SIZE == c::LU_SIZEOF_MEMFD as usize);
    assert!(memfd::FolioEntry::SIZE == c::LU_SIZEOF_FOLIO as usize);
    assert!(vmalloc::Descriptor::SIZE == c::LU_SIZEOF_VMALLOC as usize);
    assert!(vmalloc::PARTS_PER_CHUNK == c::LU_VMALLOC_PARTS as usize);
    assert!(memfd::ALL_SEALS == c::LU_MEMFD_ALL_SEALS as u32);
    assert!(memfd::FOLIO_DIRTY == c::LU_FOLIO_DIRTY as u64);
    assert!(memfd::FOLIO_UPTODATE == c::LU_FOLIO_UPTODATE as u64);
};
