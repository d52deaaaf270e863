// SPDX-License-Identifier: GPL-2.0-only

//! Which files some session has, in either direction: no two sessions have the same one.
//!
//! A file is known by the number that its handler gives it (`FileHandler::identify`). A session
//! claims the number in two steps: [`Identities::ticket`] may fail for lack of memory,
//! [`Ticket::claim`] only because the number is taken.

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The numbers that are claimed (lock 5 of [`crate::session`]).
#[pin_data]
pub(super) struct Identities {
    #[pin]
    claimed: Mutex<RBTree<usize, ()>>,
}

impl Identities {
    /// No number is claimed. `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                claimed <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Allocates the memory for a claim. `ENOMEM`.
    pub(super) fn ticket(self: &Arc<Self>) -> Result<Ticket> {
        Ok(Ticket {
            identities: self.clone(),
            node: RBTreeNodeReservation::new(GFP_KERNEL)?,
        })
    }

    /// Whether `id` is claimed at the moment.
    pub(super) fn is_claimed(&self, id: usize) -> bool {
        self.claimed.lock().get(&id).is_some()
    }
}

/// The memory for one claim.
pub(super) struct Ticket {
    identities: Arc<Identities>,
    node: RBTreeNodeReservation<usize, ()>,
}

impl Ticket {
    /// Claims `id`. `EBUSY` if it is claimed.
    pub(super) fn claim(self, id: usize) -> Result<Claim> {
        let mut claimed = self.identities.claimed.lock();
        let Entry::Vacant(vacant) = claimed.entry(id) else {
            return Err(EBUSY);
        };
        vacant.insert((), self.node);
        drop(claimed);
        Ok(Claim {
            identities: self.identities,
            id,
        })
    }
}

/// A number that is claimed until this is dropped.
pub(super) struct Claim {
    identities: Arc<Identities>,
    id: usize,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock is released before the node is freed.
        let node = self.identities.claimed.lock().remove_node(&self.id);
        drop(node);
    }
}

#[kunit_tests(liveupdate_identities)]
mod tests {
    use super::*;

    #[test]
    fn claimed_once_at_a_time() -> Result {
        let identities = Identities::new()?;
        let claim = identities.ticket()?.claim(1)?;
        assert!(identities.is_claimed(1));
        assert_eq!(identities.ticket()?.claim(1).err(), Some(EBUSY));
        let _other = identities.ticket()?.claim(2)?;
        drop(claim);
        assert!(!identities.is_claimed(1));
        let _again = identities.ticket()?.claim(1)?;
        Ok(())
    }
}
