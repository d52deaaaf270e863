// SPDX-License-Identifier: GPL-2.0-only

//! The source files of `abi/` on the host, and memory for them to read that a test makes up.

// The host uses only some of it.
#[allow(dead_code, unused_imports)]
#[path = "../../abi/mod.rs"]
pub(crate) mod abi;

mod claims;
#[cfg(test)]
mod corpus;
pub mod fuzz;
mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
