// SPDX-License-Identifier: GPL-2.0-only

//! Shows that the entries of a block are bounded by its page and can be written back.
//!
//! See `liveupdate_abi_host::fuzz::entries`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::entries(data));
