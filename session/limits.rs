// SPDX-License-Identifier: GPL-2.0-only

//! The number of files in all sessions that the administrator allows (module parameter
//! `max_files`).

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

/// A bound on the number of files that are preserved at a time.
pub(super) struct Limit {
    used: Atomic<i64>,
    max: i64,
}

impl Limit {
    /// At most `max` files; 0 is no limit. `ENOMEM`.
    pub(super) fn new(max: u32) -> Result<Arc<Self>> {
        let max = if max == 0 { i64::MAX } else { i64::from(max) };
        Ok(Arc::new(
            Self {
                used: Atomic::new(0),
                max,
            },
            GFP_KERNEL,
        )?)
    }

    /// Counts one more file. `ENOSPC` if there are as many as allowed.
    pub(super) fn take(self: &Arc<Self>) -> Result<Share> {
        let before = self.used.fetch_add(1, Relaxed);
        // INVARIANT: The file was counted. If that was one too many, dropping the share corrects
        // it.
        let share = Share(self.clone());
        if before >= self.max {
            return Err(ENOSPC);
        }
        Ok(share)
    }
}

/// One file that is counted until this is dropped.
///
/// # Invariants
///
/// `used` of the limit includes it.
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
