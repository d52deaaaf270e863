// SPDX-License-Identifier: GPL-2.0-only

//! The files of an incoming session, by token, and the state of each.

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::super::{
    blocks,
    fdinfo,
    identities::{
        Claim,
        Ticket, //
    }, //
};
use crate::{
    abi::{
        chain,
        luo::{
            padded,
            FileEntry, //
        },
        Damage,
        PhysAddr, //
    },
    file_handlers::{
        registry::Registry,
        Failure,
        Handler,
        Outcome, //
    },
    kapi::{
        anon_file::FdInfo,
        error::eloop,
        handover::Handover,
        session_files::IncomingFiles, //
    }, //
};

/// The files of a session in the registry.
pub(super) enum FileList {
    /// They are listed in the memory of the previous kernel.
    Unread(Unread),
    /// A session had them, and has put them back.
    Read(FileSet),
}

/// A list of files in the memory of the previous kernel.
#[derive(Clone, Copy)]
pub(super) struct Unread {
    /// The first block, or null.
    pub(super) first: PhysAddr,
    /// The number of files, according to the session.
    pub(super) count: u64,
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

impl Unread {
    /// Claims the list.
    pub(super) fn read(self, handover: &Handover) -> Result<FileSet, NotRead> {
        let survey = chain::survey::<FileEntry>(handover, self.first)
            .and_then(|survey| survey.with_entries(self.count))?;
        let mut files =
            KVVec::with_capacity(survey.entries, GFP_KERNEL).map_err(|_| NotRead::OutOfMemory)?;
        blocks::claim(handover, self.first, survey, |entry| {
            // The capacity is that of all entries.
            let _ = files.push_within_capacity(IncomingFile::new(&entry, files.len()));
            Ok(())
        })?;
        Ok(FileSet::new(files)?)
    }
}

/// The files of a session.
///
/// # Invariants
///
/// They are sorted by token, and no two have the same.
pub(super) struct FileSet {
    sorted: KVVec<IncomingFile>,
    /// Index after the last lookup, so that ascending tokens are found without a search.
    next: usize,
}

impl FileSet {
    /// No files.
    pub(super) const fn empty() -> Self {
        // INVARIANT: There are none.
        Self {
            sorted: KVVec::new(),
            next: 0,
        }
    }

    fn new(mut files: KVVec<IncomingFile>) -> Result<Self, Damage> {
        // A kernel with this module writes them in ascending order.
        if !files.is_sorted_by(|a, b| a.token < b.token) {
            files.sort_unstable_by_key(|file| file.token);
            let mut pairs = Iterator::zip(files.iter(), files.iter().skip(1));
            if let Some((file, _)) = pairs.find(|(a, b)| a.token == b.token) {
                return Err(Damage::DuplicateToken { token: file.token });
            }
        }
        // INVARIANT: They were found in ascending order, or sorted and compared.
        Ok(Self {
            sorted: files,
            next: 0,
        })
    }

    /// Sorts the files by the order in which they were preserved, for [`FileSet::pop`]. They cannot be
    /// found any more.
    pub(super) fn sort_by_place(&mut self) {
        if !self.sorted.is_sorted_by_key(|file| file.place) {
            self.sorted.sort_unstable_by_key(|file| file.place);
        }
    }

    /// Takes the last file.
    pub(super) fn pop(&mut self) -> Option<IncomingFile> {
        self.sorted.pop()
    }

    /// How many files there are.
    pub(super) fn len(&self) -> u64 {
        self.sorted.len() as u64
    }

    /// All files, by token.
    pub(super) fn iter(&self) -> impl Iterator<Item = &IncomingFile> {
        self.sorted.iter()
    }

    /// As [`FileSet::iter`]; tokens do not change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut IncomingFile> {
        self.sorted.iter_mut()
    }

    /// The index of the file of `token`, which is valid as long as the files are in this set.
    pub(super) fn find(&mut self, token: u64) -> Option<usize> {
        let index = match self.sorted.get(self.next) {
            Some(file) if file.token == token => self.next,
            _ => self
                .sorted
                .binary_search_by_key(&token, |file| file.token)
                .ok()?,
        };
        self.next = index + 1;
        Some(index)
    }

    /// The file that [`FileSet::find`] has found.
    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut IncomingFile> {
        self.sorted.get_mut(index)
    }

    /// What a file needs that a task is retrieving, if it needs anything.
    fn needed_by(&mut self, token: u64) -> Option<u64> {
        let index = self.find(token)?;
        match self.at_mut(index)?.state {
            FileState::Retrieving { needs } => needs,
            _ => None,
        }
    }

    /// Notes that the file of `token`, which a task is retrieving, needs another one.
    ///
    /// `ELOOP` if that one needs the first, maybe through others: the tasks would wait for each other.
    pub(super) fn set_needs(&mut self, token: u64, needed: u64) -> Result {
        // Ends: so far the files lead to no circle.
        let mut at = Some(needed);
        while let Some(other) = at {
            if other == token {
                return Err(eloop());
            }
            at = self.needed_by(other);
        }
        self.replace_needs(token, Some(needed));
        Ok(())
    }

    /// The reverse of [`FileSet::set_needs`].
    pub(super) fn clear_needs(&mut self, token: u64) {
        self.replace_needs(token, None);
    }

    fn replace_needs(&mut self, token: u64, value: Option<u64>) {
        let Some(index) = self.find(token) else {
            return;
        };
        if let Some(IncomingFile {
            state: FileState::Retrieving { needs },
            ..
        }) = self.at_mut(index)
        {
            *needs = value;
        }
    }

    /// See [`fdinfo`].
    pub(super) fn show(&mut self, handlers: &Registry, to: &FdInfo<'_>) {
        if self.sorted.len() > fdinfo::MAX_LISTED {
            let count = |state| {
                self.iter()
                    .filter(|file| file.state_name() == state)
                    .count()
            };
            let counts = STATE_NAMES.map(|state| (state, count(state)));
            return fdinfo::counts(to, &counts);
        }
        for file in self.iter() {
            if to.is_full() {
                break;
            }
            let handler = file.origin.look_up(handlers);
            let name = handler
                .as_ref()
                .map_or("unknown", |handler| handler.compatible());
            fdinfo::file(to, file.token, name, file.state_name());
        }
    }
}

/// A file of the previous kernel. Fields are dropped in order: the file goes before the module of its
/// handler may.
pub(super) struct IncomingFile {
    token: u64,
    data: u64,
    /// How many files of the session were preserved before.
    place: u32,
    state: FileState,
    origin: Origin,
}

/// Which handler wrote the entry of a file.
enum Origin {
    /// The name in the entry. Nobody has needed the handler yet.
    Named([u8; 48]),
    /// The name in the entry, for which there was no handler. The log has said so.
    Missing([u8; 48]),
    Found(Handler),
}

impl Origin {
    /// The handler, which is looked for until it is found: another module may register it late.
    fn handler(&mut self, handlers: &Registry) -> Result<&Handler, Damage> {
        if let Self::Named(name) | Self::Missing(name) = *self {
            let handler = handlers.find(&name).ok_or(Damage::Handler { name })?;
            *self = Self::Found(handler);
        }
        match self {
            Self::Found(handler) => Ok(handler),
            Self::Named(name) | Self::Missing(name) => Err(Damage::Handler { name: *name }),
        }
    }

    /// The handler, if there is one at the moment. Its module stays loaded only as long as the result
    /// exists.
    fn look_up(&self, handlers: &Registry) -> Option<Handler> {
        match self {
            Self::Found(handler) => Some(handler.clone()),
            Self::Named(name) | Self::Missing(name) => handlers.find(name),
        }
    }

    /// The reverse of [`Origin::handler`], so that the module of the handler can be unloaded.
    fn forget(&mut self) {
        if let Self::Found(handler) = self {
            *self = Self::Named(padded(handler.compatible()));
        }
    }
}

/// What has become of a file.
pub(super) enum FileState {
    /// Nobody has asked for it.
    Pending,
    /// A task is retrieving it, and holds no lock of the session meanwhile. It may need another
    /// file first, that of this token.
    Retrieving { needs: Option<u64> },
    /// It is a file of this kernel.
    Retrieved { _identity: Claim, file: ARef<File> },
    /// It cannot be retrieved, with this error.
    Failed(Error),
}

impl FileState {
    /// What has become of the file, as long as no task is retrieving it.
    fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Pending | Self::Retrieving { .. } => Outcome::Pending,
            Self::Retrieved { file, .. } => Outcome::Retrieved(file),
            Self::Failed(err) => Outcome::Failed(*err),
        }
    }
}

/// The names that fdinfo shows.
const STATE_NAMES: [&str; 3] = ["pending", "retrieved", "failed"];

impl IncomingFile {
    fn new(entry: &FileEntry, place: usize) -> Self {
        Self {
            token: entry.token,
            data: entry.data,
            place: place as u32,
            origin: Origin::Named(entry.compatible),
            state: FileState::Pending,
        }
    }

    /// The number that the user gave to the file.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    pub(super) fn state(&self) -> &FileState {
        &self.state
    }

    /// Whether nobody was told yet that there is no handler. The caller tells it.
    pub(super) fn tell_missing(&mut self) -> bool {
        match self.origin {
            Origin::Named(name) => {
                self.origin = Origin::Missing(name);
                true
            }
            Origin::Missing(_) | Origin::Found(_) => false,
        }
    }

    /// Begins the only attempt to retrieve the file. If there is no handler, the attempt is not
    /// spent.
    pub(super) fn begin(
        &mut self,
        handlers: &Registry,
        ticket: Ticket,
    ) -> Result<Retrieval, Damage> {
        let handler = self.origin.handler(handlers)?.clone();
        self.state = FileState::Retrieving { needs: None };
        Ok(Retrieval {
            handler,
            data: self.data,
            ticket,
        })
    }

    /// Takes the result of the attempt, which is final.
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

    /// Whether the session can be finished in this state of the file. A file that nobody knows does
    /// not prevent that.
    pub(super) fn can_finish(&mut self, handlers: &Registry) -> bool {
        match self.origin.handler(handlers) {
            Ok(handler) => handler.can_finish(self.data, self.state.outcome()),
            Err(_) => true,
        }
    }

    /// The session is not finished after all. A file that nobody has asked for does not need its
    /// handler any more.
    pub(super) fn cannot_finish(&mut self) {
        if matches!(self.state, FileState::Pending) {
            self.origin.forget();
        }
    }

    /// Frees what is left of the file. If there is no handler, and the log has said so, that is no error
    /// again.
    pub(super) fn finish(mut self, handlers: &Registry, handover: &Handover) -> Result<(), Damage> {
        let told = matches!(self.origin, Origin::Missing(_));
        match self.origin.handler(handlers) {
            Ok(handler) => handler.finish(handover, self.data, self.state.outcome()),
            Err(_) if told => Ok(()),
            Err(why) => Err(why),
        }
    }

    /// One of [`STATE_NAMES`].
    fn state_name(&self) -> &'static str {
        let [pending, retrieved, failed] = STATE_NAMES;
        match self.state {
            FileState::Pending | FileState::Retrieving { .. } => pending,
            FileState::Retrieved { .. } => retrieved,
            FileState::Failed(_) => failed,
        }
    }
}

/// The only attempt to retrieve a file.
pub(super) struct Retrieval {
    handler: Handler,
    data: u64,
    ticket: Ticket,
}

impl Retrieval {
    /// Makes the file, and claims its identity.
    ///
    /// # Context
    ///
    /// Process context; sleeps, for a time that grows with the file.
    pub(super) fn run(
        self,
        handover: &Handover,
        session: &dyn IncomingFiles,
    ) -> Result<(Claim, ARef<File>), Failure> {
        let file = self.handler.retrieve(handover, self.data, session)?;
        let id = self.handler.id(&file);
        Ok((self.ticket.claim(id)?, file))
    }
}

#[kunit_tests(liveupdate_files)]
mod tests {
    use super::*;

    fn files(tokens: &[u64]) -> Result<Result<FileSet, Damage>> {
        let mut files = KVVec::with_capacity(tokens.len(), GFP_KERNEL)?;
        for token in tokens {
            let entry = FileEntry {
                compatible: [0; 48],
                data: 0,
                token: *token,
            };
            files.push(IncomingFile::new(&entry, files.len()), GFP_KERNEL)?;
        }
        Ok(FileSet::new(files))
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
    fn the_same_token_twice() -> Result {
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
