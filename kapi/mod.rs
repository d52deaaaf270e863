// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's C made safe: one small file for each C API.
//!
//! All `unsafe` and all FFI of the module live here. A safe function of a file below is sound
//! whatever its caller does; where C asks its caller for a promise, a parameter proves that it is
//! kept ([`ioctl::Ioctl`], [`module::Entered`]).

pub(crate) mod anon_file;
#[cfg(liveupdate_test)]
pub(crate) mod chrdev;
mod claim_locks;
mod claim_run;
pub(crate) mod claimed;
pub(crate) mod debugfs;
pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod fd;
pub(crate) mod file_handler;
pub(crate) mod flb;
mod gaps;
pub(crate) mod gate;
pub(crate) mod handler_api;
pub(crate) mod handover;
pub(crate) mod ioctl;
pub(crate) mod kexec;
pub(crate) mod kho;
mod layout;
pub(crate) mod listing;
pub(crate) mod locked_vm;
mod memcg;
pub(crate) mod memfd_builder;
pub(crate) mod module;
pub(crate) mod parallel;
pub(crate) mod pinned;
pub(crate) mod preserved;
pub(crate) mod process;
pub(crate) mod rwsem;
#[path = "../include/liveupdate/session_files.rs"]
pub(crate) mod session_files;
mod session_ref;
pub(crate) mod shmem;
pub(crate) mod signal;

/// What bindgen makes of `bindings_helper.h`.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod bindings {
    include!(env!("LIVEUPDATE_BINDINGS"));
}
