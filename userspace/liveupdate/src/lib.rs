// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Carry open files through kexec: the Rust API of `/dev/liveupdate`.
//!
//! A host gets a new kernel by kexec, which ends every process. With live update, chosen open
//! files survive: the next kernel has the same memfd, with the same content in the same
//! physical pages, without a copy. A virtual machine monitor (VMM) puts the memory of its guest
//! into such a memfd, and goes on in the next kernel where it stopped.
//!
//! The device is that of the Live Update Orchestrator (LUO) of Linux. This crate works with the
//! one in C, and with the module `liveupdate.ko`. It is tested across kexecs from either one to
//! the other.
//!
//! # Life cycle
//!
//! ```text
//!   old kernel                                     next kernel
//!
//!   Device::open()                                 Device::open()
//!     create_session("vm-1")                         retrieve_session("vm-1")
//!       -> OutgoingSession                             -> IncomingSession
//!     preserve(token, file)                          retrieve(token) -> OwnedFd
//!     ...                                            ...
//!     hold the session    ---- reboot(2), kexec -->  finish()
//! ```
//!
//! In the old kernel:
//!
//! ```no_run
//! use liveupdate::{Device, SessionName, Token};
//! # use std::os::fd::OwnedFd;
//! # fn f(ram: OwnedFd) -> Result<(), Box<dyn std::error::Error>> {
//!
//! const RAM: Token = Token::new(1);
//!
//! let name: SessionName = "vm-1".parse()?;
//! let session = Device::open()?.create_session(&name)?;
//! session.preserve(RAM, &ram)?;
//! // Keep `session` until the kexec: dropping it gives everything back.
//! # drop(session);
//! # Ok(())
//! # }
//! ```
//!
//! In the next one:
//!
//! ```no_run
//! use liveupdate::{Device, SessionName, Token};
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//!
//! const RAM: Token = Token::new(1);
//!
//! let name: SessionName = "vm-1".parse()?;
//! let session = Device::open()?.retrieve_session(&name)?;
//! let ram = session.retrieve(RAM)?;
//! session.finish()?;
//! // `ram` is an ordinary memfd of this process.
//! # drop(ram);
//! # Ok(())
//! # }
//! ```
//!
//! # Who holds what
//!
//! - **The device has one opener.** A second open fails with [`Reason::DeviceBusy`]. Sessions do
//!   not need the device, so close it early.
//! - **An outgoing session lives as long as its holder.** Dropping the last file descriptor of an
//!   [`OutgoingSession`] unpreserves its files. `kexec -e` kills nobody, but a reboot by an init
//!   system does: there, hand the session to an agent, or to the file descriptor store of
//!   systemd.
//! - **Sessions travel.** They become an [`OwnedFd`](std::os::fd::OwnedFd) with `into()`, go
//!   through `SCM_RIGHTS` or exec, and become sessions again with `try_from()`, which checks that
//!   the file is a session of that direction.
//! - **Dropping an incoming session finishes it.** Files that nobody retrieved are freed. Retrieve
//!   what you need first, and use [`IncomingSession::finish`] to learn whether it worked.
//!
//! # What crosses
//!
//! Of a memfd: content, size, file position and seals, as of the kexec. Its flags, its name and
//! `FD_CLOEXEC` do not. Other kinds of files cross if the kernel has a handler for them.
//! A process does not cross: what it knows must go into a file. With the feature `state`, the
//! module `state` makes such a file of any serde type.
//!
//! Incoming sessions do not cross a second kexec. Retrieve their files, and preserve them again.
//!
//! # Features
//!
//! | feature | module | what |
//! |---|---|---|
//! | `state` | `state` | a value of the program in a sealed memfd, with version and checksum |
//! | `memory` | `memory` | memfds with huge pages, the parts of a file that have data, collapsing |
//! | `agent` | `agent` | sessions from the agent `lud`, for programs that may not open the device |
//!
//! # Errors
//!
//! No call panics. An [`Error`] says which call failed, for which session and token, keeps the
//! errno, and has a [`Reason`]: what the errno means for that call.

#![warn(rustdoc::all)]
// A test fails by a panic.
#![cfg_attr(test, allow(clippy::expect_used))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("/dev/liveupdate is a device of Linux");

#[cfg(feature = "agent")]
pub mod agent;
mod error;
#[cfg(feature = "memory")]
pub mod memory;
mod name;
mod session;
#[cfg(feature = "state")]
pub mod state;
mod sys;
#[allow(dead_code, non_camel_case_types)]
mod uapi;

pub use error::{Error, Operation, Reason, Rejected};
pub use name::{InvalidName, SessionName, Token};
pub use session::{Device, IncomingSession, OutgoingSession};
