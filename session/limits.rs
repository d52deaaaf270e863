// SPDX-License-Identifier: GPL-2.0-only

//! How many files there may be in all sessions: what the administrator allows.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    }, //
};

/// A number of things that may exist at a time.
pub(super) struct Limit {
    used: Atomic<i64>,
    most: i64,
}

impl Limit {
    /// At most `most`; 0 is no limit.
    pub(super) fn new(most: u32) -> Result<Arc<Self>> {
        let most = if most == 0 { i64::MAX } else { i64::from(most) };
        Ok(Arc::new(
            Self {
                used: Atomic::new(0),
                most,
            },
            GFP_KERNEL,
        )?)
    }

    /// The right to one more. `ENOSPC` if there are as many as allowed.
    pub(super) fn take(self: &Arc<Self>) -> Result<Share> {
        let before = self.used.fetch_add(1, Relaxed);
        // INVARIANT: It was counted, even if it is one too many: then it is dropped at once.
        let share = Share(self.clone());
        if before >= self.most {
            return Err(ENOSPC);
        }
        Ok(share)
    }
}

/// One thing that exists as long as this lives.
///
/// # Invariants
///
/// It is counted.
pub(super) struct Share(Arc<Limit>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Relaxed);
    }
}

#[kunit_tests(liveupdate_limits)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_allowed() -> Result {
        let limit = Limit::new(2)?;
        let first = limit.take()?;
        let _second = limit.take()?;
        assert_eq!(limit.take().err(), Some(ENOSPC));
        drop(first);
        let _third = limit.take()?;
        assert_eq!(limit.take().err(), Some(ENOSPC));
        Ok(())
    }

    #[test]
    fn zero_is_no_limit() -> Result {
        let limit = Limit::new(0)?;
        let _one = limit.take()?;
        let _another = limit.take()?;
        Ok(())
    }
}
