// SPDX-License-Identifier: GPL-2.0-only

//! The files of an incoming session: what is known of each, by its token.

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    blocks,
    identities::{
        Claim,
        Ticket, //
    }, //
};
use crate::{
    abi::{
        chain,
        luo::FileEntry,
        Damage, //
        PhysAddr,
    },
    file_handlers::{
        self,
        Failure,
        Handler, //
    },
    kapi::handover::Handover,
};

/// The files of a session that nobody has.
pub(super) enum FileList {
    /// The list of them is in the memory of the previous kernel.
    Unread(Unread),
    /// The session was taken, and given back.
    Read(Files),
}

/// A list of files that was not read yet.
#[derive(Clone, Copy)]
pub(super) struct Unread {
    first: PhysAddr,
    said: u64,
}

/// Why a list of files was not read.
pub(super) enum NotRead {
    /// There is no memory for it now; nothing has changed.
    OutOfMemory,
    /// It is damaged.
    Damaged(Damage),
}

impl From<Damage> for NotRead {
    fn from(why: Damage) -> Self {
        Self::Damaged(why)
    }
}

impl FileList {
    /// The list that begins at `first`, of which the session says that it has `said` entries.
    pub(super) fn unread(first: PhysAddr, said: u64) -> Self {
        Self::Unread(Unread { first, said })
    }
}

impl Unread {
    /// Takes the list out of the memory of the previous kernel.
    pub(super) fn read(self, handover: &Handover) -> Result<Files, NotRead> {
        let survey = chain::survey::<FileEntry>(handover, self.first)
            .and_then(|found| found.expect(self.said))?;
        let mut files =
            KVVec::with_capacity(survey.entries, GFP_KERNEL).map_err(|_| NotRead::OutOfMemory)?;
        blocks::claim(handover, self.first, survey, |entry| {
            // There is room for all that was surveyed.
            let _ = files.push_within_capacity(IncomingFile::new(entry));
            Ok(())
        })?;
        Ok(Files::new(files)?)
    }
}

/// The files of a session that somebody has.
///
/// # Invariants
///
/// They are sorted by token, and no two have the same.
pub(super) struct Files {
    /// None if there are none: an empty vector would be one more thing to free.
    sorted: Option<KVVec<IncomingFile>>,
    /// The one behind that which was asked for last.
    next: usize,
}

impl Files {
    /// No files.
    pub(super) const fn none() -> Self {
        // INVARIANT: There are none.
        Self {
            sorted: None,
            next: 0,
        }
    }

    fn new(mut files: KVVec<IncomingFile>) -> Result<Self, Damage> {
        // Most users count.
        if !files.is_sorted_by(|a, b| a.token() < b.token()) {
            files.sort_unstable_by_key(IncomingFile::token);
            let mut pairs = Iterator::zip(files.iter(), files.iter().skip(1));
            if let Some((file, _)) = pairs.find(|(a, b)| a.token() == b.token()) {
                return Err(Damage::DuplicateToken {
                    token: file.token(),
                });
            }
        }
        // INVARIANT: They were sorted, or are now.
        Ok(Self {
            sorted: Some(files),
            next: 0,
        })
    }

    /// All files, by token.
    pub(super) fn iter(&self) -> impl Iterator<Item = &IncomingFile> {
        self.sorted.as_deref().unwrap_or_default().iter()
    }

    /// Where the file of `token` is. It stays there.
    pub(super) fn find(&mut self, token: u64) -> Option<usize> {
        let files = self.sorted.as_deref()?;
        // Most users ask for one after the other.
        let index = match files.get(self.next) {
            Some(file) if file.token() == token => self.next,
            _ => files
                .binary_search_by_key(&token, IncomingFile::token)
                .ok()?,
        };
        self.next = index + 1;
        Some(index)
    }

    /// The file that [`Files::find`] has found.
    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut IncomingFile> {
        self.sorted.as_deref_mut()?.get_mut(index)
    }
}

/// A file of the previous kernel.
pub(super) struct IncomingFile {
    entry: FileEntry,
    pub(super) state: FileState,
}

/// What has become of it.
pub(super) enum FileState {
    /// Nobody asked for it.
    Pending,
    /// Somebody asked for it, and does not hold a lock meanwhile.
    Retrieving,
    /// There is a file.
    Retrieved { _identity: Claim, file: ARef<File> },
    /// There will be none.
    Failed(Error),
}

impl IncomingFile {
    fn new(entry: FileEntry) -> Self {
        Self {
            entry,
            state: FileState::Pending,
        }
    }

    /// What the user calls it.
    pub(super) fn token(&self) -> u64 {
        self.entry.token
    }

    /// What it takes to retrieve it.
    pub(super) fn begin(&mut self, ticket: Ticket) -> Retrieval {
        self.state = FileState::Retrieving;
        Retrieval {
            entry: self.entry,
            ticket,
        }
    }

    /// Takes what became of it, which is final.
    pub(super) fn end(&mut self, result: Result<(Claim, ARef<File>)>) -> Result<ARef<File>> {
        match result {
            Ok((identity, file)) => {
                self.state = FileState::Retrieved {
                    _identity: identity,
                    file: file.clone(),
                };
                Ok(file)
            }
            Err(err) => {
                self.state = FileState::Failed(err);
                Err(err)
            }
        }
    }

    /// Whether it does not keep the session from being finished.
    pub(super) fn can_finish(&self) -> bool {
        match self.state {
            FileState::Pending => {
                Handler::find(&self.entry.compatible).is_none_or(Handler::can_finish_untouched)
            }
            _ => true,
        }
    }

    /// Frees what nobody asked for.
    pub(super) fn discard(&self, handover: &Handover) -> Result<(), Damage> {
        match self.state {
            FileState::Pending => {
                handler(&self.entry)?.discard(handover, PhysAddr(self.entry.data))
            }
            _ => Ok(()),
        }
    }

    /// The name of its handler, and its state, as fdinfo shows them.
    pub(super) fn describe(&self) -> (&'static str, &'static str) {
        let handler = Handler::find(&self.entry.compatible).map_or("unknown", Handler::compatible);
        let state = match self.state {
            FileState::Pending | FileState::Retrieving => "pending",
            FileState::Retrieved { .. } => "retrieved",
            FileState::Failed(_) => "failed",
        };
        (handler, state)
    }
}

fn handler(entry: &FileEntry) -> Result<Handler, Damage> {
    Handler::find(&entry.compatible).ok_or(Damage::Handler {
        name: entry.compatible,
    })
}

/// The only attempt to retrieve a file.
pub(super) struct Retrieval {
    entry: FileEntry,
    ticket: Ticket,
}

impl Retrieval {
    /// Makes the file. May sleep, and take as long as the file is large.
    pub(super) fn run(self, handover: &Handover) -> Result<(Claim, ARef<File>), Failure> {
        let file = handler(&self.entry)?.retrieve(handover, PhysAddr(self.entry.data))?;
        let (_, id) = file_handlers::identify(&file).ok_or(EIO)?;
        Ok((self.ticket.claim(id)?, file))
    }
}

#[kunit_tests(liveupdate_files)]
mod tests {
    use super::*;

    fn files(tokens: &[u64]) -> Result<Result<Files, Damage>> {
        let mut files = KVVec::with_capacity(tokens.len(), GFP_KERNEL)?;
        for token in tokens {
            let entry = FileEntry {
                compatible: [0; 48],
                data: 0,
                token: *token,
            };
            files.push(IncomingFile::new(entry), GFP_KERNEL)?;
        }
        Ok(Files::new(files))
    }

    #[test]
    fn found_by_token() -> Result {
        for tokens in [&[0, 1, u64::MAX][..], &[5, u64::MAX, 0, 9, 1][..], &[][..]] {
            let mut files = files(tokens)?.map_err(|_| EIO)?;
            for token in tokens {
                let index = files.find(*token).ok_or(EINVAL)?;
                assert_eq!(files.at_mut(index).map(|file| file.token()), Some(*token));
                assert_eq!(files.find(*token), Some(index));
            }
            assert!(files.find(7).is_none());
            assert!(files.at_mut(tokens.len()).is_none());
            assert!(files.iter().map(IncomingFile::token).is_sorted());
            assert_eq!(files.iter().count(), tokens.len());
        }
        Ok(())
    }

    #[test]
    fn many_in_no_order() -> Result {
        let mut tokens = KVVec::with_capacity(1000, GFP_KERNEL)?;
        for index in 0..1000u64 {
            tokens.push(index * 7 % 1000, GFP_KERNEL)?;
        }
        let files = files(&tokens)?.map_err(|_| EIO)?;
        assert!(files.iter().map(IncomingFile::token).eq(0..1000));
        Ok(())
    }

    #[test]
    fn tokens_of_two() -> Result {
        for tokens in [&[3, 3][..], &[1, 2, 3, 1][..], &[1, 3, 3, 4][..]] {
            let damage = files(tokens)?.err();
            assert!(matches!(
                damage,
                Some(Damage::DuplicateToken { token: 1 | 3 })
            ));
        }
        Ok(())
    }
}
