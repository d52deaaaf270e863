// SPDX-License-Identifier: GPL-2.0-only

//! A preserved file of an outgoing session, and how `reboot(2)` freezes some of them.

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use super::super::{
    identities::Claim,
    limits::Share,
    name::Name, //
};
use crate::{
    abi::luo::{
        padded,
        FileEntry, //
    },
    file_handlers::{
        Added,
        CountedFile,
        Handler, //
    },
    kapi::session_files::OutgoingFiles,
};

/// A preserved file. Fields are dropped in order: the file is unpreserved before any other session
/// may claim it, its number is given up while the file that has it still exists, and the module of its
/// handler may go after all that.
pub(super) struct OutgoingFile {
    pub(super) token: u64,
    /// What its entry says.
    pub(super) data: u64,
    pub(super) preserved: KBox<dyn CountedFile>,
    pub(super) _identity: Claim,
    pub(super) _share: Share,
    pub(super) file: ARef<File>,
    pub(super) handler: Handler,
}

impl OutgoingFile {
    /// What the next kernel is told of the file.
    pub(super) fn entry(&self) -> FileEntry {
        FileEntry {
            compatible: padded(self.handler.compatible()),
            data: self.data,
            token: self.token,
        }
    }
}

/// The token of a file among these. `ENOENT` if it is none of them.
pub(super) fn token_of<'a>(
    mut files: impl Iterator<Item = &'a OutgoingFile>,
    file: &File,
) -> Result<u64> {
    let found = files.find(|other| core::ptr::eq(&*other.file, file));
    Ok(found.ok_or(ENOENT)?.token)
}

/// The files of a session but the one that is being frozen.
struct Others<'a> {
    before: &'a [OutgoingFile],
    after: &'a [OutgoingFile],
}

impl OutgoingFiles for Others<'_> {
    fn token_of(&self, file: &File) -> Result<u64> {
        token_of(Iterator::chain(self.before.iter(), self.after), file)
    }
}

/// How far `reboot(2)` has come with the files of a session.
#[derive(Default)]
pub(super) struct Freezing {
    /// How many files are frozen: those at the start.
    pub(super) done: usize,
    /// What was preserved for them, and is not counted yet.
    pub(super) added: Added,
}

impl Freezing {
    /// Freezes the files that are not frozen, up to the first that refuses. Those before it stay
    /// frozen. `rewrite` gets the place and the entry of a file whose entry has changed.
    pub(super) fn freeze(
        &mut self,
        files: &mut [OutgoingFile],
        name: &Name,
        mut rewrite: impl FnMut(usize, &FileEntry),
    ) -> Result {
        while let Some((before, [file, after @ ..])) = files.split_at_mut_checked(self.done) {
            let others = Others { before, after };
            let frozen = file.preserved.freeze_counted(&others, &mut self.added);
            let data = frozen.inspect_err(|err| report_refusal(name, file, *err))?;
            if data != file.data {
                file.data = data;
                rewrite(self.done, &file.entry());
            }
            self.done += 1;
        }
        Ok(())
    }

    /// The reverse of [`Freezing::freeze`].
    pub(super) fn unfreeze(&mut self, files: &mut [OutgoingFile]) {
        let frozen = files.iter_mut().take(self.done);
        for file in frozen.rev() {
            file.preserved.unfreeze();
        }
        self.done = 0;
    }
}

/// Names the file that refuses the kexec.
#[cold]
fn report_refusal(name: &Name, file: &OutgoingFile, err: Error) {
    pr_err!(
        "kexec refused: {} file {:#x} of session {name} cannot be frozen: {}\n",
        file.handler.compatible(),
        file.token,
        err.to_errno()
    );
}
