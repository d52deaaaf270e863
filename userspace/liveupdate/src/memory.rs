// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Memory that crosses kexec: memfds.
//!
//! A VMM makes the memory of its guest with [`Options`], maps it, and preserves the memfd.
//!
//! ```
//! use liveupdate::memory::{data, Options};
//! use std::os::fd::AsFd;
//!
//! let ram = Options::new("guest-ram").size(64 << 20).create()?;
//! // Nothing was written, so the memory is one hole.
//! assert_eq!(data(ram.as_fd())?.count(), 0);
//! # Ok::<(), liveupdate::Error>(())
//! ```
//!
//! # Large folios
//!
//! The kernel preserves and restores folio by folio, so memory in huge pages has a fraction of the
//! pause of memory in small ones. Memory of a memfd that is not hugetlb is in small pages unless
//! the system says otherwise (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`). [`collapse`]
//! makes huge pages of it at any time before it is preserved, whatever the system says.
//!
//! # Holes
//!
//! A program that reads a hole through a mapping fills it, and the memory crosses. Code that
//! copies or hashes memory should walk [`data`], which tells what was ever written. The module
//! keeps holes; the orchestrator in C fills those of a file that is preserved.

use crate::{sys, Error, Operation};
use rustix::fs::{MemfdFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The size of the pages of a memfd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageSize {
    /// Small pages, which the kernel may replace by transparent huge ones.
    #[default]
    Base,
    /// hugetlb pages of 2 MiB, from the pool of the system. Preserving such a memfd fails with
    /// [`NoHandler`](crate::Reason::NoHandler) if the kernel has no handler for hugetlb.
    Huge2M,
    /// hugetlb pages of 1 GiB, as [`PageSize::Huge2M`].
    Huge1G,
}

/// How a memfd is made.
#[derive(Clone, Debug)]
pub struct Options {
    name: String,
    size: u64,
    pages: PageSize,
}

impl Options {
    /// Begins with an empty memfd of small pages. `/proc` shows the name, which does not cross.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            size: 0,
            pages: PageSize::Base,
        }
    }

    /// Sets the size in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// Sets the size of the pages.
    #[must_use]
    pub fn pages(mut self, pages: PageSize) -> Self {
        self.pages = pages;
        self
    }

    /// Makes the memfd. It can be sealed, cannot be executed, and has no data yet.
    ///
    /// Its mode forbids to execute it, and no seal: the C orchestrator of Linux 7.3 adds
    /// `F_SEAL_EXEC` to a new memfd whose mode allows it, and then the kernel seals the memory
    /// against writing too. Only where `vm.memfd_noexec` is 2 the memfd has that seal.
    ///
    /// # Errors
    ///
    /// Those of `memfd_create(2)` and `ftruncate(2)`.
    pub fn create(&self) -> Result<OwnedFd, Error> {
        let huge = match self.pages {
            PageSize::Base => MemfdFlags::empty(),
            PageSize::Huge2M => MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
            PageSize::Huge1G => MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB,
        };
        let create = |executable| {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | executable | huge;
            rustix::fs::memfd_create(self.name.as_str(), flags)
        };
        let error = |errno| Error::new(Operation::CreateMemory, errno);
        let fd = match create(MemfdFlags::EXEC) {
            Err(Errno::ACCESS) => create(MemfdFlags::NOEXEC_SEAL),
            result => result,
        }
        .map_err(error)?;
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(error)?;
        rustix::fs::ftruncate(&fd, self.size).map_err(error)?;
        Ok(fd)
    }
}

/// Finds the parts of a file that have data, in ascending order.
///
/// The file is opened once more, through `/proc/self/fd`: looking for data moves the position of
/// an open file, and that of a preserved file crosses kexec.
///
/// # Errors
///
/// Those of opening the file, among them that `/proc` is not mounted.
pub fn data(file: BorrowedFd<'_>) -> Result<Data, Error> {
    rustix::fs::open(
        format!("/proc/self/fd/{}", file.as_raw_fd()),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(|file| Data { file, at: Some(0) })
    .map_err(|errno| Error::new(Operation::FindData, errno))
}

/// The parts of a file that have data; [`data`] makes it.
///
/// Each part is a range of offsets in bytes, which is not empty. After an error, there are no
/// more parts.
#[derive(Debug)]
pub struct Data {
    file: OwnedFd,
    at: Option<u64>,
}

impl Data {
    fn part_from(&self, at: u64) -> Result<Option<Range<u64>>, Errno> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data from here to the end.
            Err(Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        // A writer that truncates the file in between can make an empty part of it.
        Ok((start < end).then_some(start..end))
    }
}

impl Iterator for Data {
    type Item = Result<Range<u64>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at.take()?;
        let part = self.part_from(at);
        if let Ok(Some(part)) = &part {
            self.at = Some(part.end);
        }
        part.map_err(|errno| Error::new(Operation::FindData, errno))
            .transpose()
    }
}

/// What [`collapse`] has done, in bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collapsed {
    /// In huge pages now.
    pub huge: u64,
    /// In small pages: parts of blocks that also have holes, blocks whose pages are in use, such
    /// as those of a preserved file, and blocks for which no huge page was free.
    pub left: u64,
}

/// Makes transparent huge pages of the memory of a memfd.
///
/// Only blocks of the size of a huge page are collapsed that have data everywhere, because
/// collapsing fills holes. Call it before the file is preserved: preserved pages stay where they
/// are. It copies the memory.
///
/// # Errors
///
/// [`Unsupported`](crate::Reason::Unsupported) if the kernel has no transparent huge pages, and
/// those of mapping the file. Blocks that cannot be collapsed are no error.
pub fn collapse(file: BorrowedFd<'_>) -> Result<Collapsed, Error> {
    let failed = |errno| Error::new(Operation::Collapse, errno);
    let block = huge_page_size().ok_or_else(|| failed(Errno::OPNOTSUPP))?;
    let mut result = Collapsed::default();
    for part in data(file)? {
        let part = part?;
        let first = part.start.next_multiple_of(block);
        let last = part.end - part.end % block;
        let mut huge = 0;
        if first < last {
            let map = sys::Mapping::new(file, first..last, block).map_err(failed)?;
            for offset in (first..last).step_by(usize::try_from(block).unwrap_or(usize::MAX)) {
                // ENOMEM too is about this block: no huge page is free at the moment.
                if map.collapse(offset..offset + block).is_ok() {
                    huge += block;
                }
            }
        }
        result.huge += huge;
        result.left += part.end - part.start - huge;
    }
    Ok(result)
}

/// The size of a transparent huge page in bytes, if the kernel has them.
fn huge_page_size() -> Option<u64> {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|size: &u64| size.is_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const PAGE: u64 = 4096;

    #[test]
    fn data_is_what_was_written_and_the_position_stays() {
        let fd = Options::new("test")
            .size(64 * PAGE)
            .create()
            .expect("a memfd");
        rustix::io::pwrite(&fd, b"x", 3 * PAGE).expect("written");
        rustix::io::pwrite(&fd, b"x", 4 * PAGE).expect("written");
        rustix::io::pwrite(&fd, b"x", 63 * PAGE).expect("written");
        rustix::fs::seek(&fd, SeekFrom::Start(17)).expect("a position");
        let parts: Result<Vec<_>, _> = data(fd.as_fd()).expect("opened").collect();
        assert_eq!(
            parts.expect("found"),
            [3 * PAGE..5 * PAGE, 63 * PAGE..64 * PAGE]
        );
        assert_eq!(rustix::fs::tell(&fd), Ok(17));
    }

    #[test]
    fn an_empty_file_has_no_data() {
        let fd = Options::new("test").create().expect("a memfd");
        assert_eq!(data(fd.as_fd()).expect("opened").count(), 0);
    }

    #[test]
    fn a_name_that_no_memfd_may_have_is_an_error() {
        let error = Options::new("x".repeat(300))
            .create()
            .expect_err("too long");
        assert_eq!(error.operation(), Operation::CreateMemory);
        assert_eq!(error.errno(), Errno::INVAL.raw_os_error());
    }

    #[test]
    fn collapsing_counts_every_byte_and_keeps_content_and_holes() {
        const BLOCK: u64 = 2 << 20;
        let fd = Options::new("test")
            .size(4 * BLOCK)
            .create()
            .expect("a memfd");
        let content: Vec<u8> = (0..BLOCK + PAGE).map(|i| (i % 251) as u8).collect();
        // One whole block and a page of the next one; then a hole; then a page.
        rustix::io::pwrite(&fd, &content, 0).expect("written");
        rustix::io::pwrite(&fd, b"x", 3 * BLOCK).expect("written");
        let parts = || -> Vec<_> { data(fd.as_fd()).expect("opened").flatten().collect() };
        let before = parts();
        match collapse(fd.as_fd()) {
            Ok(result) => assert_eq!(result.huge + result.left, BLOCK + 2 * PAGE),
            Err(error) => assert_eq!(error.reason(), crate::Reason::Unsupported),
        }
        assert_eq!(parts(), before);
        let mut seen = vec![0; content.len()];
        rustix::io::pread(&fd, &mut seen, 0).expect("read");
        let differs = seen.iter().zip(&content).position(|(a, b)| a != b);
        assert_eq!(differs, None);
    }
}
