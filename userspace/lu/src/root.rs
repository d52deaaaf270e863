// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Files of the system, below a directory that a test can choose.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directory that holds `proc`, `sys`, `dev`, `run`, `boot` and `lib`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// `/` on a real system.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the path of a file. `name` may begin with a slash.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let name = name.as_ref();
        self.0.join(name.strip_prefix("/").unwrap_or(name))
    }

    /// Reads a file as text. Bytes that are not UTF-8 become U+FFFD.
    pub fn read(&self, name: impl AsRef<Path>) -> io::Result<String> {
        let path = self.path(name);
        let text = fs::read(&path)?;
        tracing::trace!(path = %path.display(), bytes = text.len(), "read");
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether the file exists, as far as this user can see.
    pub fn exists(&self, name: impl AsRef<Path>) -> bool {
        self.path(name).exists()
    }

    /// Returns the names in a directory in no order; none if it cannot be read.
    pub fn names(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()
    }
}
