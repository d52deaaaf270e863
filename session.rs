// SPDX-License-Identifier: GPL-2.0-only

//! Sessions: named sets of files that are preserved together.
//!
//! A session that goes out ([`outgoing`]) and one that came in ([`incoming`]) are different types
//! with different file operations. This file owns what they share: the [`Orchestrator`], which
//! knows all of them, and the way from `reboot(2)` to the memory that the next kernel reads.
//!
//! # Locks
//!
//! From the outermost to the innermost; a lock is taken only while none that stands below it is
//! held. All of them may sleep. None is held while memory of a user is read or written, which takes
//! as long as whoever provides that memory likes. `misc_mtx` of the kernel stands outside of all when
//! the device is opened.
//!
//! 1. [`Orchestrator::freeze`]: held for reading by everything that changes a session, and for
//!    writing from the moment a kexec is entered. If the kexec goes through, it is never released
//!    ([`Orchestrator::frozen`] keeps it, a lock for that alone): who comes later waits for a kernel
//!    that does not return.
//! 2. The registries: [`Orchestrator::outgoing`] and [`Orchestrator::incoming`]. They are held for
//!    one look-up or insertion, and never both.
//! 3. The files of a session: `outgoing::Session::files` and `incoming::Session::state`. They are
//!    not held while the pages of a file are walked, except when a kexec is entered, or when a
//!    session that goes out is closed and nobody else has it any more. A file that is being
//!    retrieved is marked as such meanwhile; whoever wants it, or to finish the session, waits on
//!    `incoming::Session::retrieved`, which lets go of the lock.
//! 4. The inode of a file that is preserved, when it is and when it is given back, or of one that is
//!    being retrieved, while folios are put into it.
//! 5. [`Identities`], and the root that is handed over.
//! 6. What is left of the array of a memfd that is being retrieved: for as long as it takes to claim
//!    a part of it. Kernel threads that help take this one, 4 and 7, and who they help holds none of
//!    2 to 7 when it waits for them.
//! 7. The claims of `kapi::handover::Handover`: for one look at what was handed over, or one claim.

mod arrivals;
mod blocks;
mod files;
mod identities;
mod incoming;
mod limits;
mod name;
mod outgoing;
mod table;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    abi::{
        luo::{
            FlbHeader,
            Root,
            COMPATIBLE,
            SUBTREE, //
        },
        PhysAddr,
        Record, //
    },
    kapi::{
        device::DeviceFile,
        handover::Handover,
        kexec::KexecPrepare,
        kho::{
            Charge,
            Kho,
            PreservedPage,
            Subtree, //
        },
        rwsem::{
            HasRwSem,
            RwSem,
            WriteGuard, //
        },
        uarg::*, //
    }, //
};

use self::{
    identities::Identities, //
    limits::Limit,
    name::Name,
};

/// Everything the module knows: one for each time that it is loaded.
#[pin_data]
pub(crate) struct Orchestrator {
    kho: Kho,
    handover: Arc<Handover>,
    #[pin]
    freeze: RwSem,
    /// Kept from a successful serialization on.
    #[pin]
    frozen: Mutex<Option<WriteGuard<Orchestrator>>>,
    #[pin]
    outgoing: Mutex<outgoing::Registry>,
    #[pin]
    incoming: Mutex<arrivals::Registry>,
    identities: Arc<Identities>,
    file_limit: Arc<Limit>,
    #[pin]
    root: Mutex<OutgoingRoot>,
    device_open: Atomic<i32>,
}

/// What the next kernel finds first.
struct OutgoingRoot {
    subtree: Subtree,
    root: Root,
    // The C implementation expects a page here, if only to see that there is nothing in it.
    _flbs: PreservedPage,
}

impl OutgoingRoot {
    fn announce(kho: Kho, liveupdate_num: u64) -> Result<Self> {
        let mut flbs = PreservedPage::new(kho, Charge::Nobody)?;
        FlbHeader { pages: 1, count: 0 }.store(flbs.bytes_mut());
        let page = PreservedPage::new(kho, Charge::Nobody)?;
        let root = Root {
            compatible: COMPATIBLE,
            liveupdate_num,
            sessions: 0,
            flbs: flbs.addr().0,
        };
        let subtree = Subtree::announce(kho, SUBTREE, page, &root).inspect_err(|err| {
            if *err == EEXIST {
                pr_err!("this kernel has a Live Update Orchestrator already\n");
            }
        })?;
        Ok(Self {
            subtree,
            root,
            _flbs: flbs,
        })
    }

    fn set_sessions(&mut self, head: PhysAddr) {
        self.root.sessions = head.0;
        self.subtree.rewrite(&self.root);
    }
}

impl HasRwSem for Orchestrator {
    fn rwsem(&self) -> &RwSem {
        &self.freeze
    }
}

impl Orchestrator {
    /// Looks at what came in, and announces what will go out: at most so many sessions and files,
    /// where 0 is no limit.
    ///
    /// `EEXIST` if another Live Update Orchestrator is there, `ENOMEM`.
    pub(crate) fn new(kho: Kho, max_sessions: u32, max_files: u32) -> Result<Arc<Self>> {
        let handover = Handover::new(kho, SUBTREE)?;
        let incoming = arrivals::Registry::new(&handover)?;
        let root = OutgoingRoot::announce(kho, incoming.liveupdate_num().wrapping_add(1))?;
        let outgoing = outgoing::Registry::new(kho, max_sessions);
        let identities = Identities::new()?;
        let file_limit = Limit::new(max_files)?;
        let this = Arc::pin_init(
            pin_init!(Self {
                kho,
                handover,
                freeze <- RwSem::new(),
                frozen <- new_mutex!(None),
                outgoing <- new_mutex!(outgoing),
                incoming <- new_mutex!(incoming),
                identities,
                file_limit,
                root <- new_mutex!(root),
                device_open: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        let incoming = this.incoming.lock();
        pr_info!(
            "live update {}, {} incoming sessions\n",
            incoming.liveupdate_num(),
            incoming.count()
        );
        drop(incoming);
        Ok(this)
    }
}

impl KexecPrepare for Orchestrator {
    fn prepare(this: &Arc<Self>) -> Result {
        let guard = WriteGuard::new(this.clone());
        let start = Instant::<Monotonic>::now();
        let written = this.outgoing.lock().serialize()?;
        this.root.lock().set_sessions(written.head);
        *this.frozen.lock() = Some(guard);
        pr_info!(
            "serialized {} sessions with {} files in {} us\n",
            written.sessions,
            written.files,
            start.elapsed().as_micros_ceil()
        );
        Ok(())
    }

    fn abort(this: &Arc<Self>) {
        this.root.lock().set_sessions(PhysAddr(0));
        let guard = this.frozen.lock().take();
        drop(guard);
    }
}

/// The open device. There is one at a time.
pub(crate) struct OpenDevice {
    orchestrator: Arc<Orchestrator>,
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        self.orchestrator.device_open.store(0, Release);
    }
}

impl DeviceFile for OpenDevice {
    type Context = Orchestrator;

    fn open(context: &Arc<Orchestrator>) -> Result<Self> {
        if context.device_open.cmpxchg(0, 1, Acquire).is_err() {
            return Err(EBUSY);
        }
        let device = Self {
            orchestrator: context.clone(),
        };
        device
            .orchestrator
            .incoming
            .lock()
            .read(&device.orchestrator.handover)?;
        Ok(device)
    }

    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        let (nr, arg) = UserArg::for_command(
            cmd,
            LIVEUPDATE_CMD_CREATE_SESSION..=LIVEUPDATE_CMD_RETRIEVE_SESSION,
            arg,
        )?;
        match nr {
            LIVEUPDATE_CMD_CREATE_SESSION => outgoing::create(&self.orchestrator, &arg)?,
            _ => incoming::retrieve(&self.orchestrator, &arg)?,
        }
        Ok(0)
    }
}

/// The ioctls of a session, whose numbers are the same for both kinds.
struct SessionCommand {
    nr: u32,
    arg: UserArg,
}

impl SessionCommand {
    const PRESERVE_FD: u32 = LIVEUPDATE_CMD_SESSION_PRESERVE_FD;
    const RETRIEVE_FD: u32 = LIVEUPDATE_CMD_SESSION_RETRIEVE_FD;
    const FINISH: u32 = LIVEUPDATE_CMD_SESSION_FINISH;
    const GET_NAME: u32 = LIVEUPDATE_CMD_SESSION_GET_NAME;

    fn new(cmd: u32, arg: usize) -> Result<Self> {
        let (nr, arg) = UserArg::for_command(cmd, Self::PRESERVE_FD..=Self::GET_NAME, arg)?;
        Ok(Self { nr, arg })
    }

    /// The one that both kinds of session answer.
    fn get_name(&self, name: &Name) -> Result {
        let mut args: liveupdate_session_get_name = self.arg.read()?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        args.name = *name.as_field();
        self.arg.write(&args)
    }
}
