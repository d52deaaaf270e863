// SPDX-License-Identifier: GPL-2.0-only

//! A map of pages that stands in for what KHO handed over.

use std::collections::BTreeMap;

use crate::abi::{Memory, PhysAddr, Refusal, PAGE_SIZE};

/// Pages by address; everything else was not handed over.
#[derive(Default)]
pub(crate) struct Pages(BTreeMap<u64, Vec<u8>>);

impl Pages {
    /// Makes `at` the start of a page with `content`, filled up with zeroes.
    pub(crate) fn put(&mut self, at: u64, content: &[u8]) {
        let mut page = content.to_vec();
        page.resize(PAGE_SIZE, 0);
        self.0.insert(at, page);
    }
}

impl Memory for Pages {
    fn peek(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Refusal> {
        let page = self.0.get(&at.0).ok_or(Refusal::Address(at))?;
        into.copy_from_slice(page.get(..into.len()).ok_or(Refusal::Address(at))?);
        Ok(())
    }
}
