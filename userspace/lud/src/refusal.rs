// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Errors of the agent, and the refusals that programs get for them.

use liveupdate::agent::protocol::{Cause, Refusal};
use rustix::io::Errno;
use std::fmt;

/// A failure, with an errno and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The errno, as a positive number.
    pub errno: i32,
    /// What failed.
    pub sentence: String,
}

impl Failed {
    /// Makes a failure of an errno and a sentence.
    pub fn new(errno: Errno, sentence: impl Into<String>) -> Self {
        Self {
            errno: errno.raw_os_error(),
            sentence: sentence.into(),
        }
    }

    /// Whether this is the errno.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno.raw_os_error()
    }

    /// Makes the refusal that a program gets.
    pub fn refusal(self, cause: Cause) -> Refusal {
        Refusal {
            errno: self.errno,
            cause,
            sentence: self.sentence,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (errno {})", self.sentence, self.errno)
    }
}

impl std::error::Error for Failed {}

impl From<liveupdate::Error> for Failed {
    fn from(error: liveupdate::Error) -> Self {
        Self {
            errno: error.errno(),
            sentence: error.to_string(),
        }
    }
}

impl<T> From<liveupdate::Rejected<T>> for Failed {
    fn from(rejected: liveupdate::Rejected<T>) -> Self {
        rejected.error.into()
    }
}

/// A refusal by the agent itself.
pub fn refuse(cause: Cause, errno: Errno, sentence: impl Into<String>) -> Refusal {
    Failed::new(errno, sentence).refusal(cause)
}
