// SPDX-License-Identifier: GPL-2.0-only

//! Shows that the survey of a chain agrees with a model, whatever its blocks contain.
//!
//! See `liveupdate_abi_host::fuzz::chains`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::chains(data));
