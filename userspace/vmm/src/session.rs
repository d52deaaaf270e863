// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sessions of `/dev/liveupdate`: named sets of files that outlive a kexec.
//!
//! An outgoing session is for the next kernel: closing it gives its files back. An incoming
//! session came from the previous kernel: closing it finishes it, and what was not retrieved
//! is freed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys;

const NAME_SIZE: usize = 64;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot open /dev/liveupdate ({0}): is the module loaded, and no other program using it?"
    )]
    Device(Errno),
    #[error("the session name \"{0}\" is empty or longer than 63 bytes")]
    Name(String),
    #[error("cannot create the session \"{0}\" ({1})")]
    Create(String, Errno),
    #[error("the previous kernel handed over no session \"{0}\"")]
    NoSession(String),
    #[error("cannot retrieve the session \"{0}\" ({1})")]
    RetrieveSession(String, Errno),
    #[error("cannot preserve {0} ({1})")]
    Preserve(&'static str, Errno),
    #[error("cannot retrieve {0} ({1})")]
    Retrieve(&'static str, Errno),
    #[error("cannot finish the session ({0})")]
    Finish(Errno),
}

#[repr(C)]
pub struct Named {
    size: u32,
    fd: i32,
    name: [u8; NAME_SIZE],
}

impl Named {
    fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() >= NAME_SIZE || name.contains('\0') {
            return Err(Error::Name(name.to_string()));
        }
        let mut field = [0; NAME_SIZE];
        field[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self {
            size: size_of::<Self>() as u32,
            fd: -1,
            name: field,
        })
    }
}

#[repr(C)]
pub struct Token {
    size: u32,
    fd: i32,
    token: u64,
}

impl Token {
    fn new(fd: i32, token: u64) -> Self {
        Self {
            size: size_of::<Self>() as u32,
            fd,
            token,
        }
    }
}

#[repr(C)]
pub struct Finish {
    size: u32,
    reserved: u32,
}

impl Finish {
    fn new() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            reserved: 0,
        }
    }
}

/// The open device. Only one program can have it open, so keep it for a short time.
pub struct Device(OwnedFd);

impl Device {
    pub fn open() -> Result<Self, Error> {
        rustix::fs::open(
            "/dev/liveupdate",
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
        .map_err(Error::Device)
    }

    /// Creates a session for the next kernel.
    pub fn create(&self, name: &str) -> Result<Outgoing, Error> {
        let mut argument = Named::new(name)?;
        sys::liveupdate::<{ sys::liveupdate_opcode(0x00) }, _>(&self.0, &mut argument)
            .map_err(|errno| Error::Create(name.to_string(), errno))?;
        Ok(Outgoing(sys::owned(argument.fd)))
    }

    /// Gets the session of that name from the previous kernel.
    pub fn retrieve(&self, name: &str) -> Result<Incoming, Error> {
        let mut argument = Named::new(name)?;
        sys::liveupdate::<{ sys::liveupdate_opcode(0x01) }, _>(&self.0, &mut argument).map_err(
            |errno| match errno {
                Errno::NOENT => Error::NoSession(name.to_string()),
                _ => Error::RetrieveSession(name.to_string(), errno),
            },
        )?;
        Ok(Incoming(sys::owned(argument.fd)))
    }
}

/// A session for the next kernel. Dropping it gives all its files back.
pub struct Outgoing(OwnedFd);

impl Outgoing {
    /// Preserves a file, which `what` names in an error.
    pub fn preserve(&self, file: impl AsFd, token: u64, what: &'static str) -> Result<(), Error> {
        let mut argument = Token::new(file.as_fd().as_raw_fd(), token);
        sys::liveupdate::<{ sys::liveupdate_opcode(0x40) }, _>(&self.0, &mut argument)
            .map_err(|errno| Error::Preserve(what, errno))
    }
}

/// A session of the previous kernel. Dropping it finishes it.
pub struct Incoming(OwnedFd);

impl Incoming {
    /// Retrieves a file, which `what` names in an error. A later call returns the same file.
    pub fn retrieve(&self, token: u64, what: &'static str) -> Result<File, Error> {
        let mut argument = Token::new(-1, token);
        sys::liveupdate::<{ sys::liveupdate_opcode(0x41) }, _>(&self.0, &mut argument)
            .map_err(|errno| Error::Retrieve(what, errno))?;
        Ok(File::from(sys::owned(argument.fd)))
    }

    /// Frees what was not retrieved. If this fails, nothing was freed.
    pub fn finish(self) -> Result<(), Error> {
        sys::liveupdate::<{ sys::liveupdate_opcode(0x42) }, _>(&self.0, &mut Finish::new())
            .map_err(Error::Finish)
    }
}

/// Another process holds the session in between; see [`crate::hold`].
impl From<OwnedFd> for Incoming {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Incoming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
