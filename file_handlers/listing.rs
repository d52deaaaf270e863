// SPDX-License-Identifier: GPL-2.0-only

//! What the lists in debugfs show of handlers and FLBs. `session/listing.rs` makes the files.
//!
//! ```text
//! name module flbs
//! memfd-v2 liveupdate 0
//! number-v1 number 1
//!
//! name direction state files users module
//! number-flb-v1 outgoing preserved 2 0 number
//! ```

use kernel::{
    seq_file::SeqFile,
    seq_print, //
};

use super::{
    flb::{
        Flb,
        FlbStatus, //
    },
    registry::Registry,
    BUILT_IN, //
};
use crate::{
    abi::{
        flb::FlbEntry,
        luo::{
            padded,
            until_nul, //
        }, //
    },
    kapi::{
        gate::ModuleName,
        listing::{
            OrDash,
            Word, //
        }, //
    }, //
};

/// What a handler or an FLB writes; a NUL ends it.
type Compatible = [u8; 48];

fn word(name: &Compatible) -> Word<'_> {
    Word(until_nul(name).unwrap_or_default())
}

/// A handler.
pub(crate) struct HandlerRow {
    /// Those of this module come first, then those of others, as they were registered.
    place: u64,
    name: Compatible,
    module: ModuleName,
    flbs: usize,
}

impl HandlerRow {
    /// The names of the columns.
    pub(crate) const HEADER: &'static str = "name module flbs";

    /// The first handler after `last`, or the first of all.
    ///
    /// # Context
    ///
    /// Process context; may sleep, but waits for no callback.
    pub(crate) fn after(handlers: &Registry, last: Option<&Self>) -> Option<Self> {
        let place = last.map_or(0, |last| last.place + 1);
        if let Some(handler) = BUILT_IN.get(place as usize) {
            return Some(Self {
                place,
                name: padded(handler.compatible()),
                module: ModuleName::this(),
                flbs: 0,
            });
        }
        let built_in = BUILT_IN.len() as u64;
        let (number, handler) = handlers.first(place - built_in)?;
        Some(Self {
            place: built_in + number,
            name: padded(handler.foreign().compatible()),
            module: handler.foreign().module_name(),
            flbs: handler.count_flbs(),
        })
    }

    /// Prints the line of the handler.
    pub(crate) fn show(&self, to: &SeqFile) {
        let (name, module) = (word(&self.name), Word(self.module.as_bytes()));
        seq_print!(to, "{name} {module} {}\n", self.flbs);
    }
}

/// The order in which FLBs are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlbPlace {
    name: Compatible,
    /// An FLB can be there in both directions.
    incoming: bool,
}

/// An FLB in one direction.
pub(crate) struct FlbRow {
    place: FlbPlace,
    status: FlbStatus,
    module: Option<ModuleName>,
}

impl FlbPlace {
    /// Both places of an FLB, from the first.
    fn both(name: Compatible) -> [Self; 2] {
        [false, true].map(|incoming| Self { name, incoming })
    }
}

impl FlbRow {
    /// The names of the columns.
    pub(crate) const HEADER: &'static str = "name direction state files users module";

    /// The first FLB after `last`, or the first of all.
    ///
    /// # Context
    ///
    /// Process context; may sleep, but waits for no callback.
    pub(crate) fn after(handlers: &Registry, last: Option<&Self>) -> Option<Self> {
        let mut last = last.map(|last| last.place);
        loop {
            let place = Self::place_after(handlers, last)?;
            let flb = handlers.flb_named(&place.name);
            if let Some(row) = Self::new(handlers, place, flb.as_deref()) {
                return Some(row);
            }
            last = Some(place);
        }
    }

    fn place_after(handlers: &Registry, last: Option<FlbPlace>) -> Option<FlbPlace> {
        let mut first = None;
        handlers.for_each_flb_name(|name| {
            for place in FlbPlace::both(name) {
                let later = last.is_none_or(|last| place > last);
                if later && first.is_none_or(|first| place < first) {
                    first = Some(place);
                }
            }
        });
        first
    }

    /// [`None`] if the FLB is not there in this direction.
    fn new(handlers: &Registry, place: FlbPlace, flb: Option<&Flb>) -> Option<Self> {
        let entry = handlers.arrived_flb(&place.name);
        let status = match (flb, place.incoming) {
            (Some(flb), false) => Some(flb.outgoing_status()),
            (Some(flb), true) => flb.incoming_status(),
            (None, _) => None,
        };
        let pending = |entry: FlbEntry| FlbStatus {
            state: "pending",
            files: Some(entry.count),
            users: Some(0),
        };
        Some(Self {
            place,
            status: status.or(entry.filter(|_| place.incoming).map(pending))?,
            module: flb.map(|flb| flb.module_name()),
        })
    }

    /// Prints the line of the FLB.
    pub(crate) fn show(&self, to: &SeqFile) {
        let FlbStatus {
            state,
            files,
            users,
        } = self.status;
        let direction = match self.place.incoming {
            true => "incoming",
            false => "outgoing",
        };
        let module = self.module.as_ref().map_or(&[][..], ModuleName::as_bytes);
        seq_print!(
            to,
            "{} {direction} {state} {} {} {}\n",
            word(&self.place.name),
            OrDash(files),
            OrDash(users),
            Word(module)
        );
    }
}
