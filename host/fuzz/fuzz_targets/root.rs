// SPDX-License-Identifier: GPL-2.0-only

//! Shows that the root is read only at its address, with its size and version.
//!
//! See `liveupdate_abi_host::fuzz::root`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::root(data));
