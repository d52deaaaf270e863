// SPDX-License-Identifier: GPL-2.0-only

//! Which files are preserved, in any session: the same one cannot be preserved twice.

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

/// All that is taken. What the numbers mean is up to the handlers.
#[pin_data]
pub(super) struct Identities {
    #[pin]
    taken: Mutex<RBTree<usize, ()>>,
}

impl Identities {
    /// Nothing is taken.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                taken <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Allocates what a claim will need. `ENOMEM`.
    pub(super) fn ticket(self: &Arc<Self>) -> Result<Ticket> {
        Ok(Ticket {
            identities: self.clone(),
            node: RBTreeNodeReservation::new(GFP_KERNEL)?,
        })
    }
}

/// The right to one claim, which needs no memory any more.
pub(super) struct Ticket {
    identities: Arc<Identities>,
    node: RBTreeNodeReservation<usize, ()>,
}

impl Ticket {
    /// Takes `id`. `EBUSY` if it is taken.
    pub(super) fn claim(self, id: usize) -> Result<Claim> {
        let mut taken = self.identities.taken.lock();
        let Entry::Vacant(place) = taken.entry(id) else {
            return Err(EBUSY);
        };
        place.insert((), self.node);
        drop(taken);
        Ok(Claim {
            identities: self.identities,
            id,
        })
    }
}

/// Something that is taken as long as this lives.
pub(super) struct Claim {
    identities: Arc<Identities>,
    id: usize,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let node = self.identities.taken.lock().remove_node(&self.id);
        drop(node);
    }
}
