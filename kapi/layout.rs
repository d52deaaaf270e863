// SPDX-License-Identifier: GPL-2.0-only

//! Compares the layouts of `abi/` with the C headers of the kernel that the module is built against.

#[cfg(CONFIG_KUNIT = "y")]
use core::mem::offset_of;

use kernel::prelude::*;

use super::{
    bindings as c,
    handover::KhoPage, //
};
use crate::abi::{
    chain::BlockHeader,
    flb::{
        FlbEntry,
        FlbHeader, //
    },
    luo,
    memfd,
    units,
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
    assert!(FlbHeader::SIZE == size_of::<c::luo_flb_header_ser>());
    assert!(FlbEntry::SIZE == size_of::<c::luo_flb_ser>());
    assert!(memfd::Header::SIZE == c::LU_SIZEOF_MEMFD as usize);
    assert!(memfd::FolioEntry::SIZE == c::LU_SIZEOF_FOLIO as usize);
    assert!(vmalloc::Descriptor::SIZE == c::LU_SIZEOF_VMALLOC as usize);
    assert!(vmalloc::PAGES_PER_CHUNK == c::LU_VMALLOC_PARTS as usize);
    assert!(units::MAX_PAGE_ORDER as u32 == c::LU_MAX_PAGE_ORDER);
    assert!(size_of::<KhoPage>() == c::LU_SIZEOF_PAGE as usize);
    assert!(memfd::ALL_SEALS == c::LU_MEMFD_ALL_SEALS);
    assert!(memfd::FOLIO_DIRTY == c::LU_FOLIO_DIRTY as u64);
    assert!(memfd::FOLIO_UPTODATE == c::LU_FOLIO_UPTODATE as u64);
};

/// The same as [`luo`] and [`memfd`] see it, compared field by field with what C sees.
#[kunit_tests(liveupdate_layout)]
mod tests {
    use super::*;
    use crate::abi::PhysAddr;

    /// Where in `R` the bytes are that differ when `change` is made to an all-zero record.
    fn offset_of_change<R: Record>(change: impl FnOnce(&mut R)) -> Option<usize> {
        let mut bytes = [0; 128];
        let mut record = R::load(&bytes);
        change(&mut record);
        record.store(&mut bytes);
        bytes.iter().position(|b| *b != 0)
    }

    #[test]
    fn root() {
        let at = |change: fn(&mut luo::Root)| offset_of_change(change);
        assert_eq!(
            at(|r| r.compatible[0] = 1),
            Some(offset_of!(c::luo_ser, compatible))
        );
        assert_eq!(
            at(|r| r.liveupdate_num = 1),
            Some(offset_of!(c::luo_ser, liveupdate_num))
        );
        assert_eq!(
            at(|r| r.sessions = 1),
            Some(offset_of!(c::luo_ser, sessions_pa))
        );
        assert_eq!(at(|r| r.flbs = 1), Some(offset_of!(c::luo_ser, flbs_pa)));
    }

    #[test]
    fn session() {
        let at = |change: fn(&mut luo::SessionEntry)| offset_of_change(change);
        let set = offset_of!(c::luo_session_ser, file_set_ser);
        assert_eq!(
            at(|s| s.name[0] = 1),
            Some(offset_of!(c::luo_session_ser, name))
        );
        assert_eq!(
            at(|s| s.files = 1),
            Some(set + offset_of!(c::luo_file_set_ser, files))
        );
        assert_eq!(
            at(|s| s.count = 1),
            Some(set + offset_of!(c::luo_file_set_ser, count))
        );
    }

    #[test]
    fn file() {
        let at = |change: fn(&mut luo::FileEntry)| offset_of_change(change);
        assert_eq!(
            at(|f| f.compatible[0] = 1),
            Some(offset_of!(c::luo_file_ser, compatible))
        );
        assert_eq!(at(|f| f.data = 1), Some(offset_of!(c::luo_file_ser, data)));
        assert_eq!(
            at(|f| f.token = 1),
            Some(offset_of!(c::luo_file_ser, token))
        );
    }

    #[test]
    fn block_header() {
        let at = |change: fn(&mut BlockHeader)| offset_of_change(change);
        assert_eq!(
            at(|b| b.next = 1),
            Some(offset_of!(c::kho_block_header_ser, next))
        );
        assert_eq!(
            at(|b| b.count = 1),
            Some(offset_of!(c::kho_block_header_ser, count))
        );
    }

    #[test]
    fn memfd_header() {
        let at = |change: fn(&mut memfd::Header)| offset_of_change(change);
        let array = c::LU_OFFSETOF_MEMFD_FOLIOS as usize;
        let order = c::LU_OFFSETOF_VMALLOC_ORDER as usize;
        assert_eq!(at(|h| h.pos = 1), Some(c::LU_OFFSETOF_MEMFD_POS as usize));
        assert_eq!(at(|h| h.size = 1), Some(c::LU_OFFSETOF_MEMFD_SIZE as usize));
        assert_eq!(
            at(|h| h.seals = 1),
            Some(c::LU_OFFSETOF_MEMFD_SEALS as usize)
        );
        assert_eq!(
            at(|h| h.nr_folios = 1),
            Some(c::LU_OFFSETOF_MEMFD_NR_FOLIOS as usize)
        );
        assert_eq!(at(|h| h.first = 1), Some(array));
        assert_eq!(at(|h| h.order = 1), Some(array + order));
    }

    #[test]
    fn folio_entry() {
        let mut bytes = [0; 16];
        let (pfn, index) = (0x000f_edcb_a987_6543, 0x77);
        memfd::FolioEntry::new(units::Pfn(pfn), 0x801, units::PageIndex(index)).store(&mut bytes);
        let packed = u64::from_ne_bytes(*bytes.first_chunk().unwrap_or(&[0; 8]));
        assert_eq!(packed & ((1 << 52) - 1), pfn);
        assert_eq!(packed >> 52, 0x801);
        assert_eq!(
            bytes.iter().rposition(|b| *b == 0x77),
            Some(c::LU_OFFSETOF_FOLIO_INDEX as usize)
        );
    }

    #[test]
    fn vmalloc_list() {
        let mut chunk = [0; 32];
        vmalloc::set_next(&mut chunk, PhysAddr(5));
        vmalloc::set_page(&mut chunk, 1, PhysAddr(7));
        assert_eq!(vmalloc::next(&chunk), PhysAddr(5));
        assert!(vmalloc::page(&chunk, 0).is_null());
        assert_eq!(vmalloc::page(&chunk, 1), PhysAddr(7));
        assert_eq!(chunk[16], 7);
    }
}
