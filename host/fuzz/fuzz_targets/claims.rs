// SPDX-License-Identifier: GPL-2.0-only

//! Shows that no page gets two owners, whatever KHO marked and whatever is claimed.
//!
//! See `liveupdate_abi_host::fuzz::claims`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::claims(data));
