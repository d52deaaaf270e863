// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shows that a state that is accepted, from any payload, is written and accepted again.
//!
//! See `vmm::fuzz::payload`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmm::fuzz::payload(data));
