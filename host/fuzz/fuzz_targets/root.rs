// SPDX-License-Identifier: GPL-2.0-only

//! See `liveupdate_abi_host::fuzz::root`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::root(data));
