// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The list of owners in a memfd: read once, and written with each change.

use crate::point::point;
use crate::record::{self, List, Owner, Slot, FILE_LEN};
use crate::refusal::Failed;
use liveupdate::memory::Options;
use liveupdate::SessionName;
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Owners by the name of their session, in memory and in a file if there is one.
#[derive(Debug)]
pub struct Owners {
    list: List,
    file: Option<File>,
    sequence: u64,
    slot: Slot,
}

fn failed(error: &std::io::Error) -> Failed {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Failed::new(errno, "the agent cannot write its list of owners")
}

impl Owners {
    /// An empty list without a file: the previous kernel has left none.
    pub fn none() -> Self {
        Self {
            list: List::new(),
            file: None,
            sequence: 0,
            slot: Slot::Second,
        }
    }

    /// An empty list in a new file.
    pub fn create() -> Result<Self, Failed> {
        let fd = Options::new("lud-owners").size(FILE_LEN as u64).create()?;
        let mut owners = Self {
            file: Some(fd.into()),
            ..Self::none()
        };
        owners.write(List::new())?;
        Ok(owners)
    }

    /// Reads a list. [`None`] if the file is no list, or a damaged one.
    pub fn load(fd: OwnedFd) -> Option<Self> {
        // A file that is longer than it should be is not read as a whole.
        let stat = rustix::fs::fstat(&fd).ok()?;
        if usize::try_from(stat.st_size) != Ok(FILE_LEN) {
            return None;
        }
        let file = File::from(fd);
        let mut bytes = vec![0; FILE_LEN];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let (sequence, slot, list) = record::read(&bytes)?;
        Some(Self {
            list,
            file: Some(file),
            sequence,
            slot,
        })
    }

    /// The file.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// All owners.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// The owner of a session.
    pub fn get(&self, name: &SessionName) -> Option<Owner> {
        self.list.get(name).copied()
    }

    /// How many sessions of that user there are, except one.
    pub fn count(&self, uid: u32, except: &SessionName) -> usize {
        let counts = |(name, owner): &(&SessionName, &Owner)| owner.uid == uid && *name != except;
        self.list.iter().filter(counts).count()
    }

    /// Enters the owner of a session. If that fails, nothing has changed.
    pub fn insert(&mut self, name: SessionName, owner: Owner) -> Result<(), Failed> {
        let mut list = self.list.clone();
        list.insert(name, owner);
        self.write(list)
    }

    /// Notes whether the agent has a session, if that is in the list; without a name, for all.
    pub fn set_kept(&mut self, only: Option<&SessionName>, kept: bool) -> Result<(), Failed> {
        let mut list = self.list.clone();
        for (name, owner) in &mut list {
            if only.is_none_or(|only| only == name) {
                owner.kept = kept;
            }
        }
        if list == self.list {
            return Ok(());
        }
        self.write(list)
    }

    /// Removes sessions. If that fails, nothing has changed.
    pub fn retain(&mut self, stays: impl Fn(&SessionName, &Owner) -> bool) -> Result<(), Failed> {
        let mut list = self.list.clone();
        list.retain(|name, owner| stays(name, owner));
        if list.len() == self.list.len() {
            return Ok(());
        }
        self.write(list)
    }

    /// Removes a session, if it is in the list. If the list cannot be written, it stays there.
    pub fn remove(&mut self, name: &SessionName) {
        if let Err(error) = self.retain(|it, _| it != name) {
            tracing::error!("session \"{name}\": {error}");
        }
    }

    fn write(&mut self, list: List) -> Result<(), Failed> {
        let sequence = self.sequence + 1;
        let slot = self.slot.other();
        let bytes = record::write(sequence, &list).ok_or_else(|| {
            Failed::new(
                Errno::NOSPC,
                format!("the agent has {} sessions already", record::CAPACITY),
            )
        })?;
        if let Some(file) = &self.file {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            let at = slot.offset();
            file.write_all_at(first, at as u64)
                .map_err(|error| failed(&error))?;
            point("owners-half");
            file.write_all_at(second, (at + first.len()) as u64)
                .map_err(|error| failed(&error))?;
        }
        self.list = list;
        self.sequence = sequence;
        self.slot = slot;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SessionName {
        SessionName::new(text).expect("a good name")
    }

    #[test]
    fn a_list_is_found_again() {
        let mut owners = Owners::create().expect("a list");
        let owner = Owner {
            uid: 1000,
            kept: true,
        };
        for text in ["a", "b", "c"] {
            owners.insert(name(text), owner).expect("written");
        }
        owners.remove(&name("b"));
        let fd = owners
            .file()
            .expect("a file")
            .try_clone_to_owned()
            .expect("a duplicate");
        let again = Owners::load(fd).expect("a good list");
        assert_eq!(again.list(), owners.list());
        assert_eq!(again.get(&name("a")), Some(owner));
        assert_eq!(again.get(&name("b")), None);
        assert_eq!(again.count(1000, &name("c")), 1);
    }

    #[test]
    fn another_file_is_no_list() {
        let null = File::open("/dev/null").expect("opens");
        assert!(Owners::load(null.into()).is_none());
    }
}
