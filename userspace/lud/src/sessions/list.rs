// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a program sees of the sessions.

use super::{may_use, Sessions};
use crate::policy::{Grant, Who};
use crate::record::List;
use liveupdate::agent::protocol::Direction::{self, Incoming, Outgoing};
use liveupdate::agent::protocol::Entry;
use liveupdate::SessionName;
use std::collections::BTreeSet;

impl Sessions {
    /// Lists at most `limit` sessions after the one at `after`, and returns whether there are more.
    /// `visible` returns nothing for the sessions that the process must not see.
    pub fn list(
        &self,
        who: &Who,
        after: Option<(Direction, SessionName)>,
        limit: usize,
        visible: impl Fn(&SessionName) -> Option<Grant>,
    ) -> (Vec<Entry>, bool) {
        let mut entries = Vec::new();
        for direction in [Outgoing, Incoming] {
            let side = self.side(direction);
            let names: BTreeSet<SessionName> = names(side.owners.list())
                .chain(side.held.keys().copied())
                .collect();
            for name in names {
                let seen = after.is_some_and(|after| (direction, name) <= after);
                let owner = side.owner(&name);
                let allowed = visible(&name).is_some_and(|grant| may_use(who, grant, owner));
                if seen || !allowed {
                    continue;
                }
                if entries.len() == limit {
                    return (entries, true);
                }
                let held = side.held.get(&name);
                let by = held.and_then(|held| held.by);
                entries.push(Entry {
                    name,
                    direction,
                    owner,
                    held: held.is_some(),
                    pid: by.map(|(pid, _)| pid),
                    age: by.map(|(_, since)| since.elapsed().as_secs()),
                });
            }
        }
        (entries, false)
    }
}

fn names(list: &List) -> impl Iterator<Item = SessionName> + '_ {
    list.keys().copied()
}
