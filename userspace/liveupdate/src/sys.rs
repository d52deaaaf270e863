// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The system calls that have no safe wrapper in rustix. All `unsafe` of the crate is here.

#![allow(unsafe_code)]
// Numbers and sizes of the header: constants, which the assertions below bound.
#![allow(clippy::cast_possible_truncation)]

use crate::name::FIELD;
use crate::uapi;
use rustix::io::{Errno, Result};
use rustix::ioctl::{self, opcode, Opcode};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const TYPE: u8 = uapi::LIVEUPDATE_IOCTL_TYPE as u8;

const fn number(command: u32) -> Opcode {
    assert!(command <= u8::MAX as u32);
    opcode::none(TYPE, command as u8)
}

const CREATE_SESSION: Opcode = number(uapi::LIVEUPDATE_CMD_CREATE_SESSION);
const RETRIEVE_SESSION: Opcode = number(uapi::LIVEUPDATE_CMD_RETRIEVE_SESSION);
const PRESERVE_FD: Opcode = number(uapi::LIVEUPDATE_CMD_SESSION_PRESERVE_FD);
const RETRIEVE_FD: Opcode = number(uapi::LIVEUPDATE_CMD_SESSION_RETRIEVE_FD);
const FINISH: Opcode = number(uapi::LIVEUPDATE_CMD_SESSION_FINISH);
const GET_NAME: Opcode = number(uapi::LIVEUPDATE_CMD_SESSION_GET_NAME);

// A guard against bindings that were generated for another ABI.
const _: () = {
    assert!(size_of::<uapi::liveupdate_ioctl_create_session>() == 72);
    assert!(size_of::<uapi::liveupdate_ioctl_retrieve_session>() == 72);
    assert!(size_of::<uapi::liveupdate_session_preserve_fd>() == 16);
    assert!(size_of::<uapi::liveupdate_session_retrieve_fd>() == 16);
    assert!(offset_of!(uapi::liveupdate_session_preserve_fd, token) == 8);
    assert!(offset_of!(uapi::liveupdate_session_retrieve_fd, token) == 8);
    assert!(size_of::<uapi::liveupdate_session_finish>() == 8);
    assert!(size_of::<uapi::liveupdate_session_get_name>() == 72);
};

/// The argument of a command.
///
/// # Safety
///
/// The type is `repr(C)`, consists of integers only, and is the struct that the header
/// declares for the command `OPCODE`. Its field `size`, a `u32`, is its first one.
unsafe trait Argument {
    const OPCODE: Opcode;
}

// SAFETY: The header declares these structs for these commands; bindgen wrote them.
unsafe impl Argument for uapi::liveupdate_ioctl_create_session {
    const OPCODE: Opcode = CREATE_SESSION;
}

// SAFETY: As above.
unsafe impl Argument for uapi::liveupdate_ioctl_retrieve_session {
    const OPCODE: Opcode = RETRIEVE_SESSION;
}

// SAFETY: As above.
unsafe impl Argument for uapi::liveupdate_session_preserve_fd {
    const OPCODE: Opcode = PRESERVE_FD;
}

// SAFETY: As above.
unsafe impl Argument for uapi::liveupdate_session_retrieve_fd {
    const OPCODE: Opcode = RETRIEVE_FD;
}

// SAFETY: As above.
unsafe impl Argument for uapi::liveupdate_session_finish {
    const OPCODE: Opcode = FINISH;
}

// SAFETY: As above.
unsafe impl Argument for uapi::liveupdate_session_get_name {
    const OPCODE: Opcode = GET_NAME;
}

/// An ioctl whose argument the kernel reads and writes.
struct Call<'a, T>(&'a mut T);

// SAFETY: `as_ptr()` points to an exclusively borrowed struct of the type that the command
// takes, by the contract of `Argument`. All bytes of its integers are initialized, and every
// value that the kernel writes there is valid.
unsafe impl<T: Argument> ioctl::Ioctl for Call<'_, T> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        T::OPCODE
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(
        _: ioctl::IoctlOutput,
        _: *mut core::ffi::c_void,
    ) -> Result<Self::Output> {
        Ok(())
    }
}

const fn size_field<T: Argument>() -> u32 {
    // At most 72, see the assertions above.
    size_of::<T>() as u32
}

fn call<T: Argument>(fd: BorrowedFd<'_>, argument: &mut T) -> Result<()> {
    // SAFETY: A device other than ours that has a command with this number reads and writes
    // what the number says, and `_IO()` says nothing. The type 0xBA belongs to this device,
    // see Documentation/userspace-api/ioctl/ioctl-number.rst, and the kernel checks it.
    unsafe { ioctl::ioctl(fd, Call(argument)) }
}

/// Takes the file descriptor that the kernel has installed for this process.
fn own(fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: The kernel has just installed it, and told only us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn create_session(device: BorrowedFd<'_>, name: [u8; FIELD]) -> Result<OwnedFd> {
    let mut argument = uapi::liveupdate_ioctl_create_session {
        size: size_field::<uapi::liveupdate_ioctl_create_session>(),
        fd: -1,
        name,
    };
    call(device, &mut argument)?;
    own(argument.fd)
}

pub(crate) fn retrieve_session(device: BorrowedFd<'_>, name: [u8; FIELD]) -> Result<OwnedFd> {
    let mut argument = uapi::liveupdate_ioctl_retrieve_session {
        size: size_field::<uapi::liveupdate_ioctl_retrieve_session>(),
        fd: -1,
        name,
    };
    call(device, &mut argument)?;
    own(argument.fd)
}

/// Preserves `file`; without one, the call is made with the file descriptor -1, and fails.
pub(crate) fn preserve_fd(
    session: BorrowedFd<'_>,
    file: Option<BorrowedFd<'_>>,
    token: u64,
) -> Result<()> {
    let mut argument = uapi::liveupdate_session_preserve_fd {
        size: size_field::<uapi::liveupdate_session_preserve_fd>(),
        fd: file.map_or(-1, |file| file.as_raw_fd()),
        token,
    };
    call(session, &mut argument)
}

pub(crate) fn retrieve_fd(session: BorrowedFd<'_>, token: u64) -> Result<OwnedFd> {
    let mut argument = uapi::liveupdate_session_retrieve_fd {
        size: size_field::<uapi::liveupdate_session_retrieve_fd>(),
        fd: -1,
        token,
    };
    call(session, &mut argument)?;
    own(argument.fd)
}

pub(crate) fn finish(session: BorrowedFd<'_>) -> Result<()> {
    let mut argument = uapi::liveupdate_session_finish {
        size: size_field::<uapi::liveupdate_session_finish>(),
        reserved: 0,
    };
    call(session, &mut argument)
}

pub(crate) fn get_name(session: BorrowedFd<'_>) -> Result<[u8; FIELD]> {
    let mut argument = uapi::liveupdate_session_get_name {
        size: size_field::<uapi::liveupdate_session_get_name>(),
        reserved: 0,
        name: [0; FIELD],
    };
    call(session, &mut argument)?;
    Ok(argument.name)
}

/// A part of a file that is mapped for reading, aligned so that huge pages fit.
#[cfg(feature = "memory")]
pub(crate) struct Mapping {
    /// Where the reserved addresses begin, and how many there are.
    reserved: *mut core::ffi::c_void,
    len: usize,
    /// Where the file's part begins in them.
    skip: usize,
    part: std::ops::Range<u64>,
}

#[cfg(feature = "memory")]
impl Mapping {
    /// Maps a part whose ends are multiples of `align`, a power of two.
    pub(crate) fn new(
        file: BorrowedFd<'_>,
        part: std::ops::Range<u64>,
        align: u64,
    ) -> Result<Self> {
        use rustix::mm::{mmap, mmap_anonymous, MapFlags, ProtFlags};

        let align = usize::try_from(align).map_err(|_| Errno::OVERFLOW)?;
        let size = usize::try_from(part.end - part.start).map_err(|_| Errno::OVERFLOW)?;
        let len = size.checked_add(align).ok_or(Errno::OVERFLOW)?;
        // SAFETY: A mapping at an address that the kernel chooses replaces no other one.
        let reserved = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let skip = reserved.align_offset(align);
        // From here on, drop() unmaps it.
        let mapping = Self {
            reserved,
            len,
            skip,
            part,
        };
        let target = reserved.wrapping_byte_add(skip);
        // SAFETY: `skip < align`, so the `size` bytes at `target` are in the addresses that were
        // just reserved, where nothing else is.
        unsafe {
            mmap(
                target,
                size,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::FIXED,
                file,
                mapping.part.start,
            )
        }?;
        Ok(mapping)
    }

    /// Makes a huge page of these offsets of the file.
    pub(crate) fn collapse(&self, block: std::ops::Range<u64>) -> Result<()> {
        if block.start < self.part.start || block.end > self.part.end || block.is_empty() {
            return Err(Errno::INVAL);
        }
        let fits = |bytes| usize::try_from(bytes).map_err(|_| Errno::OVERFLOW);
        let at = self.skip + fits(block.start - self.part.start)?;
        let len = fits(block.end - block.start)?;
        // SAFETY: The block is inside the mapping. MADV_COLLAPSE keeps the content, and nothing
        // refers to the memory through the mapping.
        let status = unsafe {
            libc::madvise(
                self.reserved.wrapping_byte_add(at),
                len,
                libc::MADV_COLLAPSE,
            )
        };
        if status == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

#[cfg(feature = "memory")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: Nothing refers to the addresses, and nobody else unmaps them.
        let _ = unsafe { rustix::mm::munmap(self.reserved, self.len) };
    }
}

/// Reads an option of a socket whose value is 32-bit numbers, and returns its length in bytes.
#[cfg(feature = "agent")]
fn peer_option(
    socket: BorrowedFd<'_>,
    option: core::ffi::c_int,
    value: &mut [u32],
) -> Result<usize> {
    let mut len = libc::socklen_t::try_from(size_of_val(value)).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` is `len` bytes that are exclusively borrowed, and every value of them is
    // valid. The kernel writes at most these, and the new length to `len`.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if status == 0 {
        return Ok(len as usize);
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Returns the supplementary groups that the peer of a Unix socket had when it connected.
#[cfg(feature = "agent")]
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>> {
    // NGROUPS_MAX, which no process can exceed.
    let mut groups = vec![0_u32; 65536];
    let bytes = peer_option(socket, libc::SO_PEERGROUPS, &mut groups)?;
    groups.truncate(bytes / size_of::<u32>());
    Ok(groups)
}

/// Returns a pidfd of the process that connected a Unix socket.
#[cfg(feature = "agent")]
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    // No file descriptor, should the kernel write none.
    let mut value = [u32::MAX];
    peer_option(socket, libc::SO_PEERPIDFD, &mut value)?;
    let [fd] = value;
    own(i32::from_ne_bytes(fd.to_ne_bytes()))
}

/// Lets sending a file descriptor to a socket that this one accepts fail with `EPERM`.
///
/// Closing a file can take as long as its owner likes: a connection with `SO_LINGER`, or a file
/// in FUSE. A receiver that does not ask for files closes them all the same.
#[cfg(feature = "agent")]
pub(crate) fn refuse_files(listener: BorrowedFd<'_>) -> Result<()> {
    /// `<asm-generic/socket.h>` of Linux 6.16.
    const SO_PASSRIGHTS: core::ffi::c_int = 83;
    let off: core::ffi::c_int = 0;

    // SAFETY: The kernel reads the given number of bytes of `off`, and nothing else.
    let status = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of::<core::ffi::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Takes the file descriptors that a service manager has passed to this process, as
/// `sd_listen_fds(3)` tells. None of them is taken twice: every call after the first one returns
/// nothing.
#[cfg(feature = "agent")]
pub(crate) fn take_inherited(count: i32) -> Vec<OwnedFd> {
    use std::sync::atomic::{AtomicBool, Ordering};
    /// `SD_LISTEN_FDS_START`
    const FIRST: i32 = 3;
    static TAKEN: AtomicBool = AtomicBool::new(false);

    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    (FIRST..FIRST.saturating_add(count))
        .map_while(|fd| {
            // SAFETY: This only asks for flags of a number; a number that is not open fails.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            if flags < 0 {
                return None;
            }
            // SAFETY: The environment says that these were passed to this very process for it
            // to take, they are open, and this code runs once.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
            Some(fd)
        })
        .collect()
}

/// Gets a file descriptor from a child process that shares all file descriptors with this one.
///
/// If this process is killed meanwhile, the child completes `work`, and the files stay open until
/// then. The flag is passed on.
#[cfg(feature = "agent")]
pub(crate) fn fd_from_child(work: &dyn Fn() -> Result<(OwnedFd, bool)>) -> Result<(OwnedFd, bool)> {
    use rustix::pipe::{pipe_with, PipeFlags};
    use std::os::fd::IntoRawFd;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    // Another thread could hold a lock, and no thread of the child would release it.
    if std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        return Err(Errno::DEADLK);
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let flags = libc::c_long::from(libc::CLONE_FILES | libc::SIGCHLD);
    // SAFETY: Without CLONE_VM and a stack this is fork(2): the child has a copy of the memory,
    // and goes on here. This process has one thread, so no lock is held by another one.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        let (status, flag) = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok((fd, flag))) => (fd.into_raw_fd(), flag),
            Ok(Err(errno)) => (-errno.raw_os_error(), false),
            Err(_) => (-libc::EIO, false),
        };
        let mut message = status.to_ne_bytes().to_vec();
        message.push(flag.into());
        let _ = rustix::io::write(&writer, &message);
        // SAFETY: It ends this process and returns to nobody. No destructor runs, so no file of
        // the parent is closed.
        unsafe { libc::_exit(0) }
    }
    let pid = i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(rustix::process::Pid::from_raw);
    // Without a child, the last error is that of the call above.
    let Some(pid) = pid else {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
    };
    let options = rustix::process::WaitOptions::empty();
    while matches!(
        rustix::process::waitpid(Some(pid), options),
        Err(Errno::INTR)
    ) {}
    // Without a writer, a child that was killed has left the end of the file.
    drop(writer);
    let mut message = [0; 5];
    if rustix::io::read(&reader, &mut message)? != message.len() {
        return Err(Errno::CHILD);
    }
    let [status @ .., flag] = message;
    match i32::from_ne_bytes(status) {
        errno @ ..0 => Err(Errno::from_raw_os_error(errno.wrapping_neg())),
        // SAFETY: The child has opened it in the file descriptors that both share, and gave up
        // its ownership.
        fd => Ok((unsafe { OwnedFd::from_raw_fd(fd) }, flag != 0)),
    }
}
