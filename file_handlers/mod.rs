// SPDX-License-Identifier: GPL-2.0-only

//! What kinds of file can be preserved, and what a preserved file is.
//!
//! A handler is a file of this folder. It says which files are its own ([`identify`]), turns one
//! into memory for the next kernel ([`Outgoing`]), and memory of the previous kernel into a file
//! ([`Handler::retrieve`]) or into nothing ([`Handler::discard`]). To add one, add it to
//! [`Handler`], [`Outgoing`] and [`identify`]: the compiler names every other place.

mod memfd;
#[cfg(liveupdate_test)]
mod test;

use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    abi::{
        luo::{
            padded,
            until_nul, //
        },
        Damage, //
        PhysAddr,
    },
    kapi::{
        error::eopnotsupp,
        handover::Handover,
        kho::Kho, //
    }, //
};

/// The handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    /// Files in memory.
    Memfd,
    /// Files that do what a test asks for.
    #[cfg(liveupdate_test)]
    Test,
}

impl Handler {
    const ALL: &[Handler] = &[
        Handler::Memfd,
        #[cfg(liveupdate_test)]
        Handler::Test,
    ];

    /// The name and version of what the handler writes, at most 47 bytes.
    pub(crate) fn compatible(self) -> &'static str {
        match self {
            Self::Memfd => memfd::COMPATIBLE,
            #[cfg(liveupdate_test)]
            Self::Test => test::COMPATIBLE,
        }
    }

    /// The name as it stands in memory that crosses kexec.
    pub(crate) fn compatible_field(self) -> [u8; 48] {
        padded(self.compatible())
    }

    /// The handler for what the previous kernel wrote.
    pub(crate) fn find(compatible: &[u8; 48]) -> Option<Self> {
        let name = until_nul(compatible)?;
        Self::ALL
            .iter()
            .copied()
            .find(|h| h.compatible().as_bytes() == name)
    }

    /// Gives the file back that `data` describes. May sleep.
    ///
    /// In every case nothing is left to be discarded.
    pub(crate) fn retrieve(
        self,
        handover: &Handover,
        data: PhysAddr,
    ) -> Result<ARef<File>, Failure> {
        match self {
            Self::Memfd => memfd::retrieve(handover, data),
            #[cfg(liveupdate_test)]
            Self::Test => test::retrieve(handover, data),
        }
    }

    /// Frees what `data` describes without making a file of it. May sleep.
    pub(crate) fn discard(self, handover: &Handover, data: PhysAddr) -> Result<(), Damage> {
        match self {
            Self::Memfd => memfd::discard(handover, data),
            #[cfg(liveupdate_test)]
            Self::Test => test::discard(handover, data),
        }
    }

    /// Whether a session with such a file can be finished when nobody has tried to retrieve it.
    pub(crate) fn can_finish_untouched(self) -> bool {
        match self {
            Self::Memfd => true,
            #[cfg(liveupdate_test)]
            Self::Test => false,
        }
    }
}

/// The handler of a file, and what tells it apart from all others: two open files with the same
/// number are one to the handler.
pub(crate) fn identify(file: &File) -> Option<(Handler, usize)> {
    if let Some(id) = memfd::identify(file) {
        return Some((Handler::Memfd, id));
    }
    #[cfg(liveupdate_test)]
    if let Some(id) = test::identify(file) {
        return Some((Handler::Test, id));
    }
    None
}

/// A file on its way out. Dropping it gives it back as if nothing had been.
pub(crate) enum Outgoing {
    /// See [`memfd`].
    Memfd(memfd::Preserved),
    /// See [`test`].
    #[cfg(liveupdate_test)]
    Test(test::Preserved),
}

impl Outgoing {
    /// Preserves a file for which [`identify`] gave `handler`. May sleep.
    pub(crate) fn preserve(kho: Kho, handler: Handler, file: ARef<File>) -> Result<Self> {
        match handler {
            Handler::Memfd => memfd::Preserved::preserve(kho, file).map(Self::Memfd),
            #[cfg(liveupdate_test)]
            Handler::Test => test::Preserved::preserve(kho, file).map(Self::Test),
        }
    }

    /// What the next kernel is told about the file.
    pub(crate) fn data(&self) -> PhysAddr {
        match self {
            Self::Memfd(file) => file.data(),
            #[cfg(liveupdate_test)]
            Self::Test(file) => file.data(),
        }
    }

    /// Writes what may have changed since it was preserved; an error refuses the kexec. It is
    /// called for every attempt, and what it wrote counts only for that attempt.
    pub(crate) fn freeze(&mut self) -> Result {
        match self {
            Self::Memfd(file) => file.freeze(),
            #[cfg(liveupdate_test)]
            Self::Test(file) => file.freeze(),
        }
    }
}

/// Why a file of the previous kernel cannot be given back.
pub(crate) enum Failure {
    /// Its data is not what it must be.
    Damaged(Damage),
    /// This kernel could not make a file of it.
    Error(Error),
}

impl From<Damage> for Failure {
    fn from(why: Damage) -> Self {
        Self::Damaged(why)
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Error(err)
    }
}

impl Failure {
    /// What the user is told: `EOPNOTSUPP` for what another version may know, `EIO` for damage.
    pub(crate) fn errno(&self) -> Error {
        match self {
            Self::Damaged(Damage::Handler { .. } | Damage::Seals { .. } | Damage::Flags { .. }) => {
                eopnotsupp()
            }
            Self::Damaged(_) => EIO,
            Self::Error(err) => *err,
        }
    }
}
