// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shows that no file makes the reader of a guest's state panic.
//!
//! See `vmm::fuzz::file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmm::fuzz::file(data));
