// SPDX-License-Identifier: GPL-2.0-only

//! Handlers in Rust, in a module of their own.
//!
//! A module that preserves files of its own includes this file, and has a type that implements
//! [`FileHandler`]. The life of a file is told in [`handler`].
//!
//! ```ignore
//! #[path = "/path/to/liveupdate/include/liveupdate/mod.rs"]
//! mod liveupdate;
//!
//! static HANDLER: Handler<FooHandler> = Handler::new(FooHandler);
//!
//! struct FooModule {
//!     _handler: Registration<FooHandler>,
//! }
//!
//! impl kernel::Module for FooModule {
//!     fn init(_module: &'static ThisModule) -> Result<Self> {
//!         Ok(Self { _handler: Registration::new(&HANDLER)? })
//!     }
//! }
//! ```
//!
//! [`registration`] turns the trait into a `struct liveupdate_file_handler`, and registers it with the
//! functions of the kernel's own header. So the module works with every orchestrator that exports
//! them, unless its Kbuild asks for sessions. [`kho`] has memory that crosses, [`anon_file`] files to
//! preserve and to retrieve. All `unsafe` of a handler is in these files.
//!
//! `handler.mk` is for the Kbuild of the module: it generates the bindings and compiles `helpers.c`.

// A module uses what it needs of this.
#![allow(dead_code, unused_imports)]

pub(crate) mod anon_file;
pub(crate) mod handler;
pub(crate) mod kho;
pub(crate) mod log;
pub(crate) mod registration;
#[cfg(not(liveupdate_sessions))]
mod session;
#[cfg(liveupdate_sessions)]
#[path = "session_ext.rs"]
mod session;
mod session_files;

pub(crate) use self::{
    handler::{
        Failure,
        FileHandler,
        Outcome,
        PreservedFile, //
    },
    kho::{
        ClaimedMemory,
        Damage,
        Handover,
        Kho,
        PhysAddr,
        PreservedMemory, //
    },
    log::may_log,
    registration::{
        eopnotsupp,
        Handler,
        Registration, //
    },
    session_files::{
        IncomingFiles,
        OutgoingFiles, //
    }, //
};

/// What bindgen makes of `bindings.h`.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
mod bindings {
    include!(env!("LIVEUPDATE_HANDLER_BINDINGS"));
}
