// SPDX-License-Identifier: GPL-2.0-only

//! Shows that the walk of a memfd claims each folio once, and that whether folios
//! overlap in the file does not depend on the order of insertion.
//!
//! See `liveupdate_abi_host::fuzz::folios`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| liveupdate_abi_host::fuzz::folios(data));
