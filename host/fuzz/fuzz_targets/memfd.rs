// SPDX-License-Identifier: GPL-2.0-only

//! Shows that an accepted memfd header keeps the promises of its type.
//!
//! See `liveupdate_abi_host::fuzz::memfd`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::memfd(data));
