// SPDX-License-Identifier: GPL-2.0-only

//! What can be seen of an outgoing session without its lock, which a kexec holds while it freezes the
//! files.

use kernel::sync::atomic::{
    ordering::Relaxed,
    Atomic, //
};

/// The size and the state of a session. A reader may see some of the numbers earlier than others.
pub(super) struct Counters {
    files: Atomic<u64>,
    pages: Atomic<u64>,
    pieces: Atomic<u64>,
    /// The number of tasks that are preserving a file.
    preserving: Atomic<u64>,
    /// Whether a kexec is being entered that has come to the session.
    frozen: Atomic<u64>,
    /// Whether another module has preserved a file.
    slow: Atomic<u64>,
}

impl Counters {
    /// A session without files.
    pub(super) const fn new() -> Self {
        Self {
            files: Atomic::new(0),
            pages: Atomic::new(0),
            pieces: Atomic::new(0),
            preserving: Atomic::new(0),
            frozen: Atomic::new(0),
            slow: Atomic::new(0),
        }
    }

    /// The session has become so large.
    pub(super) fn set_size(&self, files: u64, pages: u64, pieces: u64) {
        self.files.store(files, Relaxed);
        self.pages.store(pages, Relaxed);
        self.pieces.store(pieces, Relaxed);
    }

    /// Another module has preserved a file, and may take any time to freeze it.
    pub(super) fn set_slow(&self) {
        self.slow.store(1, Relaxed);
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Relaxed) != 0
    }

    /// A task begins to preserve a file.
    pub(super) fn begin_preserve(&self) {
        self.preserving.fetch_add(1, Relaxed);
    }

    /// The reverse of [`Counters::begin_preserve`].
    pub(super) fn end_preserve(&self) {
        self.preserving.fetch_sub(1, Relaxed);
    }

    /// A kexec begins to freeze the session, or goes on without it.
    pub(super) fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen.into(), Relaxed);
    }

    pub(super) fn files(&self) -> u64 {
        self.files.load(Relaxed)
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    pub(super) fn pieces(&self) -> u64 {
        self.pieces.load(Relaxed)
    }

    /// `frozen`, `busy` or `open`.
    pub(super) fn state(&self) -> &'static str {
        if self.frozen.load(Relaxed) != 0 {
            "frozen"
        } else if self.preserving.load(Relaxed) != 0 {
            "busy"
        } else {
            "open"
        }
    }
}
