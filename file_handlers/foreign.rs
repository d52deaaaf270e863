// SPDX-License-Identifier: GPL-2.0-only

//! Handlers of other modules: an adapter from `struct liveupdate_file_handler` to the trait that all
//! handlers implement.

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
    flb::{
        Arrived,
        Flb,
        FlbUse, //
    },
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
        kho::Kho, //
    }, //
};

/// A handler of another module, and the FLBs that its files depend on.
#[pin_data]
pub(crate) struct ForeignHandler {
    handler: Arc<file_handler::FileHandler>,
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
        Arc::pin_init(
            pin_init!(Self {
                handler,
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
        self.handler.can_preserve(file)
    }

    fn id(&self, file: &File) -> usize {
        self.handler.id(file)
    }

    fn preserve(&self, _kho: Kho, file: ARef<File>) -> Result<KBox<PreservedForeign>> {
        let flbs = self.linked()?;
        let mut uses = FlbUses(KVec::with_capacity(flbs.len(), GFP_KERNEL)?);
        for flb in flbs.iter() {
            uses.0.push(flb.add_file()?, GFP_KERNEL)?;
        }
        let preserved = PreservedForeign {
            file: file_handler::PreservedFile::new(self.handler.clone(), file)?,
            _flbs: uses,
        };
        Ok(KBox::new(preserved, GFP_KERNEL)?)
    }

    fn retrieve(&self, _handover: &Handover, data: u64) -> Result<ARef<File>, Failure> {
        Ok(self.handler.retrieve(data)?)
    }

    fn can_finish(&self, data: u64, outcome: Outcome<'_>) -> bool {
        let (status, file) = outcome.as_c();
        self.handler.can_finish(data, status, file)
    }

    fn finish(&self, _handover: &Handover, data: u64, outcome: Outcome<'_>) -> Result<(), Damage> {
        let (status, file) = outcome.as_c();
        if self.handler.finish(data, status, file).is_err() {
            pr_err!(
                "handler {} is gone: a file is not finished\n",
                self.compatible()
            );
        }
        // The last one that was registered first.
        let mut nr = self.flbs.lock().len();
        while nr > 0 {
            nr -= 1;
            let flb = self.flbs.lock().get(nr).cloned();
            if let Some(flb) = flb {
                flb.finish_file(&self.arrived);
            }
        }
        Ok(())
    }
}

/// A file that a handler of another module has preserved. The file is unpreserved before its FLBs.
pub(crate) struct PreservedForeign {
    file: file_handler::PreservedFile,
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

    fn freeze(&mut self) -> Result {
        self.file.freeze()
    }

    fn unfreeze(&mut self) {
        self.file.unfreeze();
    }
}

impl CountedFile for PreservedForeign {
    /// The handler gives memory to KHO itself, and does not say how much.
    fn count_in(&self, _pieces: &mut Pieces) {}
}
