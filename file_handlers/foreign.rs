// SPDX-License-Identifier: GPL-2.0-only

//! Handlers that other modules have registered, and the FLBs that their files depend on.

use core::ops::Deref;

use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};

use super::{
    callbacks::Callbacks,
    flb::{
        Arrived,
        Flb,
        FlbUse, //
    },
    Added,
    AnyHandler,
    CountedFile,
    Failure,
    FileHandler,
    Outcome,
    PreservedFile, //
};
use crate::{
    abi::{
        pieces::Pieces,
        Damage, //
    },
    kapi::{
        file_handler::{
            self,
            HandlerKey, //
        },
        flb::FlbKey,
        handover::Handover,
        kho::Kho,
        session_files::{
            IncomingFiles,
            OutgoingFiles, //
        }, //
    }, //
};

/// Who does the work of a handler that was registered.
enum Worker {
    /// The module that has registered it.
    Callbacks(Callbacks),
    /// A handler of this module, which another module presents as its own. Only tests do so: it lets
    /// such files depend on FLBs, as those of the C orchestrator can.
    #[cfg(liveupdate_test)]
    BuiltIn(&'static dyn AnyHandler),
}

impl Deref for Worker {
    type Target = dyn AnyHandler;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Callbacks(callbacks) => callbacks,
            #[cfg(liveupdate_test)]
            Self::BuiltIn(handler) => *handler,
        }
    }
}

/// A handler that was registered, and the FLBs that its files depend on.
#[pin_data]
pub(crate) struct ForeignHandler {
    handler: Arc<file_handler::FileHandler>,
    worker: Worker,
    arrived: Arc<Arrived>,
    /// In the order in which they were registered.
    #[pin]
    flbs: Mutex<KVec<Arc<Flb>>>,
}

impl ForeignHandler {
    /// A handler without FLBs. `ENOMEM`.
    pub(super) fn new(
        handler: Arc<file_handler::FileHandler>,
        arrived: Arc<Arrived>,
    ) -> Result<Arc<Self>> {
        let worker = Worker::Callbacks(Callbacks(handler.clone()));
        Self::with_worker(handler, worker, arrived)
    }

    /// The same for a handler of this module: `handler` only gives it a key. `ENOMEM`.
    #[cfg(liveupdate_test)]
    pub(super) fn presenting(
        built_in: &'static dyn AnyHandler,
        handler: Arc<file_handler::FileHandler>,
        arrived: Arc<Arrived>,
    ) -> Result<Arc<Self>> {
        Self::with_worker(handler, Worker::BuiltIn(built_in), arrived)
    }

    fn with_worker(
        handler: Arc<file_handler::FileHandler>,
        worker: Worker,
        arrived: Arc<Arrived>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                handler,
                worker,
                arrived,
                flbs <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The handler itself.
    pub(super) fn foreign(&self) -> &file_handler::FileHandler {
        &self.handler
    }

    /// What identifies the handler.
    pub(super) fn key(&self) -> HandlerKey {
        self.handler.key()
    }

    /// Lets its files depend on an FLB from now on. `EEXIST` if they do, `ENOMEM`.
    pub(super) fn link(&self, flb: Arc<Flb>) -> Result {
        let mut flbs = self.flbs.lock();
        if flbs.iter().any(|linked| linked.key() == flb.key()) {
            return Err(EEXIST);
        }
        flbs.push(flb, GFP_KERNEL)?;
        Ok(())
    }

    /// The reverse of [`ForeignHandler::link`].
    pub(super) fn unlink(&self, flb: FlbKey) {
        self.flbs.lock().retain(|linked| linked.key() != flb);
    }

    /// An FLB that its files depend on.
    pub(super) fn first_flb(&self) -> Option<FlbKey> {
        self.flbs.lock().first().map(|flb| flb.key())
    }

    /// Whether its files depend on the FLB.
    pub(super) fn has(&self, flb: FlbKey) -> bool {
        self.flbs.lock().iter().any(|linked| linked.key() == flb)
    }

    /// The number of FLBs that its files depend on.
    pub(super) fn count_flbs(&self) -> usize {
        self.flbs.lock().len()
    }

    /// The FLBs, without a lock.
    fn linked(&self) -> Result<KVec<Arc<Flb>>> {
        let flbs = self.flbs.lock();
        let mut linked = KVec::with_capacity(flbs.len(), GFP_KERNEL)?;
        for flb in flbs.iter() {
            linked.push(flb.clone(), GFP_KERNEL)?;
        }
        Ok(linked)
    }
}

impl FileHandler for ForeignHandler {
    type Preserved = PreservedForeign;

    fn compatible(&self) -> &str {
        self.handler.compatible()
    }

    fn accepts(&self, file: &File) -> bool {
        self.worker.accepts(file)
    }

    fn id(&self, file: &File) -> usize {
        self.worker.id(file)
    }

    fn preserve(
        &self,
        kho: Kho,
        file: ARef<File>,
        session: &dyn OutgoingFiles,
    ) -> Result<KBox<PreservedForeign>> {
        let flbs = self.linked()?;
        let mut uses = FlbUses(KVec::with_capacity(flbs.len(), GFP_KERNEL)?);
        for flb in flbs.iter() {
            uses.0.push(flb.add_file()?, GFP_KERNEL)?;
        }
        let preserved = PreservedForeign {
            file: self.worker.preserve(kho, file, session)?,
            _flbs: uses,
        };
        Ok(KBox::new(preserved, GFP_KERNEL)?)
    }

    fn retrieve(
        &self,
        handover: &Handover,
        data: u64,
        session: &dyn IncomingFiles,
    ) -> Result<ARef<File>, Failure> {
        self.worker.retrieve(handover, data, session)
    }

    fn can_finish(&self, data: u64, outcome: Outcome<'_>) -> bool {
        self.worker.can_finish(data, outcome)
    }

    fn finish(&self, handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        let result = self.worker.finish(handover, data, outcome);
        // The last one that was registered first.
        let mut nr = self.flbs.lock().len();
        while nr > 0 {
            nr -= 1;
            let flb = self.flbs.lock().get(nr).cloned();
            if let Some(flb) = flb {
                flb.finish_file(&self.arrived);
            }
        }
        result
    }
}

/// A file of such a handler that is preserved. The file is unpreserved before its FLBs.
pub(crate) struct PreservedForeign {
    file: KBox<dyn CountedFile>,
    _flbs: FlbUses,
}

/// What a file uses, dropped from the last one to the first.
struct FlbUses(KVec<FlbUse>);

impl Drop for FlbUses {
    fn drop(&mut self) {
        while let Some(last) = self.0.pop() {
            drop(last);
        }
    }
}

impl PreservedFile for PreservedForeign {
    fn data(&self) -> u64 {
        self.file.data()
    }

    fn freeze(&mut self, session: &dyn OutgoingFiles) -> Result {
        self.file.freeze(session)
    }

    fn unfreeze(&mut self) {
        self.file.unfreeze();
    }
}

impl CountedFile for PreservedForeign {
    fn count_in(&self, pieces: &mut Pieces) {
        self.file.count_in(pieces);
    }

    fn pages(&self) -> u64 {
        self.file.pages()
    }

    fn freeze_counted(&mut self, session: &dyn OutgoingFiles, added: &mut Added) -> Result<u64> {
        self.file.freeze_counted(session, added)
    }
}
