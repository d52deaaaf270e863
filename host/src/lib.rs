// SPDX-License-Identifier: GPL-2.0-only

//! Compiles the source files of `abi/` on the host and tests them on simulated memory.
//!
//! `vfio` and `iommufd` do the same with the records of these handlers, which need nothing of the kernel.
//! `memory` simulates what the previous kernel preserved. `tests` checks each reader on chosen
//! values, `properties`, `walks`, `roundtrip`, `flbs` and `claims` on generated ones. `fuzz` holds the fuzz
//! targets, and `corpus` replays their inputs.

// The tests do not use every item of the module.
#[allow(dead_code, unused_imports)]
#[path = "../../abi/mod.rs"]
pub(crate) mod abi;

mod claims;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod flbs;
pub mod fuzz;
#[cfg(test)]
mod iommufd;
mod memory;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vfio;
#[cfg(test)]
mod walks;
