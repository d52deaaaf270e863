// SPDX-License-Identifier: GPL-2.0-only

//! The handlers and FLBs that other modules have registered, and how the handler of a file is found.
//!
//! A handler that is registered late is not too late: an entry of the previous kernel is looked up
//! when somebody needs its handler, and again the next time if it was not found.
//!
//! A file keeps the module of its handler loaded. So a handler normally has no files when it is
//! unregistered. If it has some all the same, because the initialization of its module fails after
//! it has registered the handler, its callbacks are not called any more: a kexec is refused as long
//! as such files are preserved, and those of the previous kernel cannot be retrieved.

use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use super::{
    find_built_in,
    flb::{
        Arrived,
        Flb, //
    },
    foreign::ForeignHandler,
    AnyHandler,
    Handler,
    BUILT_IN, //
};
use crate::{
    abi::{
        flb::{
            FlbEntry,
            MAX_FLBS, //
        },
        luo::{
            padded,
            until_nul, //
        }, //
    },
    kapi::{
        file_handler::{
            self,
            HandlerKey, //
        },
        flb::{
            FlbKey,
            Object, //
        },
        handler_api::{
            HandlerApi,
            NewFlb, //
        }, //
    }, //
};

/// All handlers, and all FLBs.
#[pin_data]
pub(crate) struct Registry {
    /// What the previous kernel has left.
    arrived: Arc<Arrived>,
    #[pin]
    lists: Mutex<Lists>,
}

struct Lists {
    /// In the order in which they were registered, with a number that ascends.
    handlers: KVec<(u64, Arc<ForeignHandler>)>,
    next_number: u64,
    /// Those of handlers, and those that somebody has got.
    flbs: KVec<Arc<Flb>>,
}

impl Lists {
    fn handler(&self, key: HandlerKey) -> Option<&Arc<ForeignHandler>> {
        let mut handlers = self.handlers.iter().map(|(_, handler)| handler);
        handlers.find(|handler| handler.key() == key)
    }

    fn flb(&self, key: FlbKey) -> Option<&Arc<Flb>> {
        self.flbs.iter().find(|flb| flb.key() == key)
    }

    /// Whether some handler depends on the FLB.
    fn is_linked(&self, key: FlbKey) -> bool {
        self.handlers.iter().any(|(_, handler)| handler.has(key))
    }

    /// The FLB that another module names, which is added if it is new.
    ///
    /// `EEXIST` if another one has its name, `ENOSPC` if there are as many as can cross, `EINVAL` if it
    /// is not complete, `ENOMEM`.
    fn flb_or_new(&mut self, new: &NewFlb<'_>) -> Result<Arc<Flb>> {
        if let Some(flb) = self.flb(new.key()) {
            return Ok(flb.clone());
        }
        let flb = Flb::new(new.init()?)?;
        let same_name = |other: &Arc<Flb>| other.compatible() == flb.compatible();
        if self.flbs.iter().any(same_name) {
            return Err(EEXIST);
        }
        if self.flbs.len() >= MAX_FLBS {
            return Err(ENOSPC);
        }
        self.flbs.push(flb.clone(), GFP_KERNEL)?;
        Ok(flb)
    }

    /// Removes an FLB of which no handler depends any more, and ends all use of it.
    fn remove_unlinked(&mut self, key: FlbKey) -> Option<Arc<Flb>> {
        if self.is_linked(key) {
            return None;
        }
        let flb = self.flb(key)?.clone();
        self.flbs.retain(|other| other.key() != key);
        Some(flb)
    }
}

/// Ends all use of an FLB that is in no list any more.
fn retire(flb: Option<Arc<Flb>>) {
    let Some(flb) = flb else {
        return;
    };
    if flb.is_in_use() {
        pr_err!(
            "FLB {} was unregistered while it is in use\n",
            flb.compatible()
        );
    }
    flb.close();
}

impl Registry {
    /// No handlers but those of this module. `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let arrived = Arc::pin_init(Arrived::new(), GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                arrived,
                lists <- new_mutex!(Lists {
                    handlers: KVec::new(),
                    next_number: 0,
                    flbs: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Tells which FLBs the previous kernel has left.
    pub(crate) fn set_arrived(&self, entries: KVec<FlbEntry>) {
        self.arrived.set(entries);
    }

    /// The handler of a file: the first that accepts it. Handlers whose module is being unloaded do
    /// not count.
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock is held while a handler is asked.
    pub(crate) fn of(&self, file: &File) -> Option<Handler> {
        let mut built_in = BUILT_IN.iter().copied();
        if let Some(handler) = built_in.find(|handler| handler.accepts(file)) {
            return Some(self.built_in(handler));
        }
        let mut from = 0;
        while let Some((number, handler)) = self.first(from) {
            let handler = pin(&handler).filter(|handler| handler.accepts(file));
            if handler.is_some() {
                return handler;
            }
            from = number + 1;
        }
        None
    }

    /// The first handler of another module whose number is at least `from`.
    pub(super) fn first(&self, from: u64) -> Option<(u64, Arc<ForeignHandler>)> {
        let lists = self.lists.lock();
        let mut later = lists.handlers.iter().filter(|(number, _)| *number >= from);
        later.next().cloned()
    }

    /// The handler that wrote an entry of the previous kernel. What follows the first NUL of the
    /// field is ignored, as in C.
    pub(crate) fn find(&self, compatible: &[u8; 48]) -> Option<Handler> {
        if let Some(handler) = find_built_in(compatible) {
            return Some(self.built_in(handler));
        }
        self.find_registered(until_nul(compatible)?)
    }

    /// A handler of this module. In the build for tests another module may have registered it as its
    /// own: then that registration.
    fn built_in(&self, handler: &'static dyn AnyHandler) -> Handler {
        #[cfg(liveupdate_test)]
        if let Some(presented) = self.find_registered(handler.compatible().as_bytes()) {
            return presented;
        }
        Handler::BuiltIn(handler)
    }

    fn find_registered(&self, name: &[u8]) -> Option<Handler> {
        let lists = self.lists.lock();
        let mut handlers = lists.handlers.iter().map(|(_, handler)| handler);
        let found = handlers.find(|handler| handler.foreign().compatible().as_bytes() == name);
        let found = found?.clone();
        drop(lists);
        pin(&found)
    }

    /// What is registered for a handler of another module. `EEXIST` if one of this module has its name,
    /// `ENOMEM`.
    fn new_handler(&self, handler: Arc<file_handler::FileHandler>) -> Result<Arc<ForeignHandler>> {
        let name = handler.compatible();
        let mut built_in = BUILT_IN.iter().copied();
        match built_in.find(|other| other.compatible() == name) {
            #[cfg(liveupdate_test)]
            Some(built_in) => ForeignHandler::presenting(built_in, handler, self.arrived.clone()),
            #[cfg(not(liveupdate_test))]
            Some(_) => Err(taken(name)),
            None => ForeignHandler::new(handler, self.arrived.clone()),
        }
    }

    /// The FLB of this name, if some module has named it.
    pub(super) fn flb_named(&self, name: &[u8; 48]) -> Option<Arc<Flb>> {
        let lists = self.lists.lock();
        let mut flbs = lists.flbs.iter();
        let found = flbs.find(|flb| padded::<48>(flb.compatible()) == *name);
        found.cloned()
    }

    /// The FLB of this name that the previous kernel has left, as long as nobody has retrieved it.
    pub(super) fn arrived_flb(&self, name: &[u8; 48]) -> Option<FlbEntry> {
        let mut found = None;
        self.arrived.for_each(|entry| {
            if until_nul(&entry.name) == until_nul(name) {
                found = Some(*entry);
            }
        });
        found
    }

    /// Passes the names of all FLBs to `each`, in any order, some twice. Some module has named them, or
    /// the previous kernel has left them.
    pub(super) fn for_each_flb_name(&self, mut each: impl FnMut([u8; 48])) {
        for flb in self.lists.lock().flbs.iter() {
            each(padded(flb.compatible()));
        }
        self.arrived.for_each(|entry| {
            let mut name = [0; 48];
            let text = until_nul(&entry.name).unwrap_or_default();
            for (to, from) in Iterator::zip(name.iter_mut(), text) {
                *to = *from;
            }
            each(name);
        });
    }

    /// Passes the FLBs that cross to `each`. `ENOMEM`.
    ///
    /// # Context
    ///
    /// Process context of `reboot(2)`; sleeps.
    pub(crate) fn for_each_entry(&self, mut each: impl FnMut(&FlbEntry)) -> Result {
        // The lock is not held while an FLB is asked.
        let mut flbs = KVec::new();
        let lists = self.lists.lock();
        for flb in lists.flbs.iter() {
            flbs.push(flb.clone(), GFP_KERNEL)?;
        }
        drop(lists);
        for entry in flbs.iter().filter_map(|flb| flb.entry()) {
            each(&entry);
        }
        Ok(())
    }
}

/// The error of a second handler of the same name.
fn taken(name: &str) -> Error {
    pr_err!("handler {name} is registered already\n");
    EEXIST
}

/// A handler for a file, if its module is not being unloaded.
///
/// # Context
///
/// Process context; sleeps. The lists must not be locked: a callback, for which the gate of the
/// handler is open, may be waiting for them.
fn pin(handler: &Arc<ForeignHandler>) -> Option<Handler> {
    let module = handler.foreign().pin().ok()?;
    Some(Handler::Foreign {
        handler: handler.clone(),
        _module: module,
    })
}

impl HandlerApi for Registry {
    fn register_handler(&self, handler: Arc<file_handler::FileHandler>) -> Result {
        let handler = self.new_handler(handler)?;
        let name = handler.foreign().compatible();
        let mut lists = self.lists.lock();
        let lists = &mut *lists;
        let mut foreign = lists.handlers.iter().map(|(_, other)| other.foreign());
        if foreign.any(|other| other.compatible() == name) {
            return Err(taken(name));
        }
        let number = lists.next_number;
        lists.handlers.push((number, handler), GFP_KERNEL)?;
        lists.next_number += 1;
        Ok(())
    }

    fn unregister_handler(&self, key: HandlerKey) {
        let mut lists = self.lists.lock();
        let Some(handler) = lists.handler(key).cloned() else {
            return;
        };
        lists.handlers.retain(|(_, other)| other.key() != key);
        drop(lists);
        handler.foreign().close();
        // The FLBs that only this handler had.
        while let Some(flb) = handler.first_flb() {
            handler.unlink(flb);
            let unlinked = self.lists.lock().remove_unlinked(flb);
            retire(unlinked);
        }
    }

    fn register_flb(&self, handler: HandlerKey, flb: NewFlb<'_>) -> Result {
        let mut lists = self.lists.lock();
        let handler = lists.handler(handler).ok_or(EINVAL)?.clone();
        let (key, is_new) = (flb.key(), lists.flb(flb.key()).is_none());
        let flb = lists.flb_or_new(&flb)?;
        handler.link(flb).inspect_err(|_| {
            if is_new {
                lists.flbs.retain(|other| other.key() != key);
            }
        })
    }

    fn unregister_flb(&self, handler: HandlerKey, flb: FlbKey) {
        let mut lists = self.lists.lock();
        let linked = lists.handler(handler).filter(|handler| handler.has(flb));
        let Some(handler) = linked else {
            pr_warn!("an FLB was unregistered that is not registered\n");
            return;
        };
        handler.unlink(flb);
        let unlinked = lists.remove_unlinked(flb);
        drop(lists);
        retire(unlinked);
    }

    fn get_incoming(&self, flb: NewFlb<'_>) -> Result<Object> {
        let key = flb.key();
        let flb = self.lists.lock().flb_or_new(&flb)?;
        flb.get_incoming(&self.arrived).inspect_err(|_| {
            // Nobody says when an FLB ends that no handler has.
            drop(self.lists.lock().remove_unlinked(key));
        })
    }

    fn put_incoming(&self, key: FlbKey) {
        let flb = self.lists.lock().flb(key).cloned();
        if let Some(flb) = flb {
            flb.put_incoming();
            if !flb.is_in_use() {
                // As above.
                drop(self.lists.lock().remove_unlinked(key));
            }
        }
    }

    fn get_outgoing(&self, flb: FlbKey) -> Result<Object> {
        let flb = self.lists.lock().flb(flb).cloned();
        flb.ok_or(ENOENT)?.get_outgoing()
    }

    fn put_outgoing(&self, flb: FlbKey) {
        let flb = self.lists.lock().flb(flb).cloned();
        if let Some(flb) = flb {
            flb.put_outgoing();
        }
    }
}
