// SPDX-License-Identifier: GPL-2.0-only

//! FLBs: objects bound to the life of files.
//!
//! An FLB is state that several files need, such as that of an IOMMU. A module registers it for its
//! handlers. It is preserved with the first file of such a handler, and unpreserved with the last.
//! In the next kernel it is retrieved when somebody asks for it, and finished after the last file.
//!
//! ```text
//!   old kernel                                   new kernel
//!
//!   first file preserved ──► preserve            get_incoming ──► retrieve, once
//!   more files: counted                          more users: counted
//!   last file unpreserved ──► unpreserve         last file finished, no user left ──► finish
//! ```
//!
//! What crosses is a name, 64 bits and the number of files; `abi/flb.rs` describes the bytes.
//!
//! # Where this differs from C
//!
//! - An FLB that nobody has asked for is retrieved and finished after its last file. C intends that,
//!   but its counter underflows.
//! - A file counts for the FLBs that its handler had when the file was preserved. In C it is taken
//!   off those that the handler has when the file is unpreserved.
//! - The number that crosses is that of files. In C it includes the users of `get_outgoing`, but
//!   these end with the old kernel.

use core::ops::Deref;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use crate::{
    abi::flb::FlbEntry,
    kapi::{
        error::enodata,
        flb::{
            ForeignFlb,
            Object, //
        },
        module::OtherModule, //
    }, //
};

/// An FLB that some module has named.
#[pin_data]
pub(crate) struct Flb {
    #[pin]
    foreign: ForeignFlb,
    #[pin]
    outgoing: Mutex<Option<Outgoing>>,
    #[pin]
    incoming: Mutex<Incoming>,
}

/// A preserved FLB.
struct Outgoing {
    data: u64,
    object: Object,
    /// The number of files that depend on it.
    files: u64,
    /// How often it was got and not put.
    users: u64,
    _module: OtherModule,
}

/// What has become of an FLB of the previous kernel.
enum Incoming {
    /// Nobody has asked for it, or there was none.
    Unknown,
    /// It is an object of this kernel.
    Live(Live),
    /// It cannot be retrieved, with this error.
    Failed(Error),
    Finished,
}

struct Live {
    object: Object,
    /// The number of files that depend on it and are not finished.
    files: u64,
    /// How often it was got and not put.
    users: u64,
    _module: OtherModule,
}

/// What others can see of an FLB in one direction.
pub(super) struct FlbStatus {
    pub(super) state: &'static str,
    /// The number of files that depend on it.
    pub(super) files: Option<u64>,
    /// How often it was got and not put.
    pub(super) users: Option<u64>,
}

impl FlbStatus {
    /// Somebody has the lock, most likely a callback.
    const BUSY: Self = Self::without_numbers("busy");

    const fn without_numbers(state: &'static str) -> Self {
        Self {
            state,
            files: None,
            users: None,
        }
    }

    const fn new(state: &'static str, files: u64, users: u64) -> Self {
        Self {
            state,
            files: Some(files),
            users: Some(users),
        }
    }
}

/// The FLBs of the previous kernel that nobody has retrieved.
#[pin_data]
pub(crate) struct Arrived {
    #[pin]
    entries: Mutex<Option<KVec<FlbEntry>>>,
}

impl Arrived {
    /// None, as long as [`Arrived::set`] was not called.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- new_mutex!(None),
        })
    }

    /// The previous kernel has left these.
    pub(crate) fn set(&self, entries: KVec<FlbEntry>) {
        *self.entries.lock() = Some(entries);
    }

    /// The entry of this name. `ENODATA` if the previous kernel has left no list, `ENOENT` if the list
    /// has no such name.
    fn find(&self, name: &str) -> Result<FlbEntry> {
        let entries = self.entries.lock();
        let entries = entries.as_ref().ok_or_else(enodata)?;
        let mut found = entries.iter().filter(|entry| entry.is_named(name));
        found.next().copied().ok_or(ENOENT)
    }

    /// Counts one file less for an FLB that nobody has retrieved. Whether that was its last one.
    fn drop_file(&self, name: &str) -> bool {
        let mut entries = self.entries.lock();
        let mut entries = entries.iter_mut().flat_map(|entries| entries.iter_mut());
        let Some(entry) = entries.find(|entry| entry.is_named(name) && entry.count > 0) else {
            return false;
        };
        entry.count -= 1;
        entry.count == 0
    }

    /// Passes all entries to `each`.
    pub(super) fn for_each(&self, each: impl FnMut(&FlbEntry)) {
        if let Some(entries) = &*self.entries.lock() {
            entries.iter().for_each(each);
        }
    }

    /// Forgets an entry: what it describes belongs to an object of this kernel, or is lost.
    fn forget(&self, name: &str) {
        if let Some(entries) = &mut *self.entries.lock() {
            entries.retain(|entry| !entry.is_named(name));
        }
    }
}

impl Deref for Flb {
    type Target = ForeignFlb;

    fn deref(&self) -> &Self::Target {
        &self.foreign
    }
}

/// A file that counts for an FLB until this is dropped.
pub(crate) struct FlbUse(Arc<Flb>);

impl Drop for FlbUse {
    fn drop(&mut self) {
        self.0.release_outgoing(|outgoing| &mut outgoing.files);
    }
}

impl Flb {
    /// An FLB that nobody uses.
    pub(crate) fn new(foreign: impl PinInit<ForeignFlb>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                foreign <- foreign,
                outgoing <- new_mutex!(None),
                incoming <- new_mutex!(Incoming::Unknown),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether somebody in this kernel depends on it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.outgoing.lock().is_some() || matches!(*self.incoming.lock(), Incoming::Live(_))
    }

    /// What others can see of it as an FLB for the next kernel. Waits for no callback.
    pub(super) fn outgoing_status(&self) -> FlbStatus {
        match self.outgoing.try_lock().as_deref() {
            None => FlbStatus::BUSY,
            Some(None) => FlbStatus::new("unused", 0, 0),
            Some(Some(Outgoing { files, users, .. })) => {
                FlbStatus::new("preserved", *files, *users)
            }
        }
    }

    /// As [`Flb::outgoing_status`], for one of the previous kernel. [`None`] if nobody has asked for it.
    pub(super) fn incoming_status(&self) -> Option<FlbStatus> {
        match self.incoming.try_lock().as_deref() {
            None => Some(FlbStatus::BUSY),
            Some(Incoming::Unknown) => None,
            Some(Incoming::Live(Live { files, users, .. })) => {
                Some(FlbStatus::new("retrieved", *files, *users))
            }
            Some(Incoming::Failed(_)) => Some(FlbStatus::without_numbers("failed")),
            Some(Incoming::Finished) => Some(FlbStatus::new("finished", 0, 0)),
        }
    }

    /// Counts a file that is being preserved: the first one preserves the FLB.
    ///
    /// `ENODEV` if the module of the FLB is going, and the errors of its `preserve`.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn add_file(self: &Arc<Self>) -> Result<FlbUse> {
        let mut outgoing = self.outgoing.lock();
        match &mut *outgoing {
            Some(outgoing) => outgoing.files += 1,
            None => {
                let module = self.foreign.pin()?;
                let (data, object) = self.foreign.preserve()?;
                *outgoing = Some(Outgoing {
                    data,
                    object,
                    files: 1,
                    users: 0,
                    _module: module,
                });
            }
        }
        drop(outgoing);
        Ok(FlbUse(self.clone()))
    }

    /// The preserved object. `ENOENT` if there is none.
    pub(crate) fn get_outgoing(&self) -> Result<Object> {
        let mut outgoing = self.outgoing.lock();
        let Some(outgoing) = &mut *outgoing else {
            return Err(ENOENT);
        };
        if outgoing.object.is_null() {
            return Err(ENOENT);
        }
        outgoing.users += 1;
        Ok(outgoing.object)
    }

    /// The reverse of [`Flb::get_outgoing`].
    pub(crate) fn put_outgoing(&self) {
        self.release_outgoing(|outgoing| &mut outgoing.users);
    }

    /// Counts down, and unpreserves the FLB if nobody depends on it any more.
    fn release_outgoing(&self, counter: impl FnOnce(&mut Outgoing) -> &mut u64) {
        let mut guard = self.outgoing.lock();
        let Some(outgoing) = &mut *guard else {
            return;
        };
        let counter = counter(outgoing);
        *counter = counter.saturating_sub(1);
        if outgoing.files > 0 || outgoing.users > 0 {
            return;
        }
        self.foreign.unpreserve(outgoing.data, outgoing.object);
        let last = guard.take();
        drop(guard);
        drop(last);
    }

    /// What the next kernel is told, if a file depends on the FLB.
    pub(crate) fn entry(&self) -> Option<FlbEntry> {
        let outgoing = self.outgoing.lock();
        let outgoing = outgoing.as_ref().filter(|outgoing| outgoing.files > 0)?;
        Some(FlbEntry::new(
            self.compatible(),
            outgoing.data,
            outgoing.files,
        ))
    }

    /// The object of the previous kernel, which is retrieved when it is asked for first.
    ///
    /// `ENODATA` if the previous kernel has left no FLB at all, or if it is finished; `ENOENT` if it has
    /// not left this one; `ENODEV` if the module is going; the error of `retrieve`, from then on.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    pub(crate) fn get_incoming(&self, arrived: &Arrived) -> Result<Object> {
        let mut incoming = self.incoming.lock();
        self.retrieve(&mut incoming, arrived)?;
        let Incoming::Live(live) = &mut *incoming else {
            return Err(enodata());
        };
        live.users += 1;
        Ok(live.object)
    }

    /// Makes the object live, unless it is.
    fn retrieve(&self, incoming: &mut Incoming, arrived: &Arrived) -> Result {
        match incoming {
            Incoming::Live(_) => return Ok(()),
            Incoming::Failed(err) => return Err(*err),
            Incoming::Finished => return Err(enodata()),
            Incoming::Unknown => (),
        }
        let entry = arrived.find(self.compatible())?;
        let module = self.foreign.pin()?;
        let retrieved = self.foreign.retrieve(entry.data);
        arrived.forget(self.compatible());
        match retrieved {
            Ok(object) => {
                *incoming = Incoming::Live(Live {
                    object,
                    files: entry.count,
                    users: 0,
                    _module: module,
                });
                Ok(())
            }
            Err(err) => {
                *incoming = Incoming::Failed(err);
                Err(err)
            }
        }
    }

    /// The reverse of [`Flb::get_incoming`].
    pub(crate) fn put_incoming(&self) {
        self.release_incoming(|live| &mut live.users);
    }

    /// Counts a file of the previous kernel that is finished.
    pub(crate) fn finish_file(&self, arrived: &Arrived) {
        let mut incoming = self.incoming.lock();
        if matches!(*incoming, Incoming::Unknown) {
            if !arrived.drop_file(self.compatible()) {
                return;
            }
            // Nobody has asked for it, but only its module can free what it describes.
            if self.retrieve(&mut incoming, arrived).is_err() {
                return;
            }
        }
        drop(incoming);
        self.release_incoming(|live| &mut live.files);
    }

    /// Counts down, and finishes the FLB if nobody depends on it any more.
    fn release_incoming(&self, counter: impl FnOnce(&mut Live) -> &mut u64) {
        let mut incoming = self.incoming.lock();
        let Incoming::Live(live) = &mut *incoming else {
            return;
        };
        let counter = counter(live);
        *counter = counter.saturating_sub(1);
        if live.files > 0 || live.users > 0 {
            return;
        }
        self.foreign.finish(live.object);
        let last = core::mem::replace(&mut *incoming, Incoming::Finished);
        drop(incoming);
        drop(last);
    }
}
