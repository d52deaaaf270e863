// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why the agent does not do something: for the program that has asked.

use liveupdate::agent::protocol::{Cause, Refusal};
use rustix::io::Errno;
use std::fmt;

/// Something that did not work, with an errno and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The errno, as a positive number.
    pub errno: i32,
    /// What failed.
    pub sentence: String,
}

impl Failed {
    /// Makes one of an errno.
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

    /// The refusal that this is for a program.
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
