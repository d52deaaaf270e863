// SPDX-License-Identifier: GPL-2.0-only

//! The very sources of `abi/` on the host, and memory for them to read that a test makes up.

// The host uses only some of it.
#[allow(dead_code)]
#[path = "../../mod.rs"]
pub(crate) mod abi;

#[cfg(test)]
mod corpus;
pub mod fuzz;
mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
