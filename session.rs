// SPDX-License-Identifier: GPL-2.0-only

//! Sessions: named sets of files that cross a live update together.
//!
//! A live update replaces the kernel by kexec under running workloads. An agent in userspace puts
//! the files that must survive into sessions before, and takes them out of the sessions of the same
//! names afterwards.
//!
//! # The life of a session and of a file
//!
//! ```text
//!  the kernel before: outgoing/                    the kernel after: incoming/
//!
//!  create_session                                  insmod: survey
//!      │ a name, an open file                          │ sessions are counted, nothing is claimed
//!      ▼                                               ▼
//!  outgoing session ◄──────┐                       first open of /dev/liveupdate: read
//!      │                   │                           │ sessions are known by name
//!      │ preserve_fd       │ more files                ▼
//!      │  (a token)        │                       retrieve_session
//!      ▼                   │                           │ files are known by token
//!  file preserved ─────────┘                           ▼
//!      │ its memory is pinned and                  incoming session ◄──────┐
//!      │ known to KHO; users of it                     │                   │ more files
//!      │ go on                                         │ retrieve_fd       │
//!      │                                               ▼                   │
//!      │ reboot(LINUX_REBOOT_CMD_KEXEC)            file retrieved ─────────┘
//!      ▼                                               │ an open file of this kernel, which
//!  freeze: no session changes any more                 │ has the same memory
//!      │ each file: what changes until the end         ▼
//!      ▼                                           finish, or close
//!  serialize: the list of sessions                     │ files that were not retrieved are
//!      │                                               │ discarded, all others belong to
//!      ▼                                               ▼ their users alone
//!    kexec ───────────── KHO memory ─────────────► ...
//! ```
//!
//! Both directions have the same files: `registry.rs` (all sessions, by name), `session.rs` (the
//! open file of a session: ioctls and closing) and `files.rs` (the files of a session, by token).
//! In an outgoing session, where files come and go, both collections are red-black trees. In an
//! incoming one, which is read at once, they are sorted vectors. The two kinds of session are
//! different types with different file operations, so that a call for the wrong direction has
//! nowhere to go.
//!
//! What crosses is a root (`root.rs`), which KHO finds by name, a chain of blocks of sessions, for
//! each session a chain of blocks of files (`blocks.rs`), and for each file what its handler has
//! made of it (`file_handlers/`). `abi/` describes the bytes.
//!
//! # When something fails
//!
//! - A call that reports failure has changed nothing, so it can be repeated. Calls reserve what
//!   they need, including the fd of the answer, then act, copy the answer out, and commit. The
//!   exceptions are calls that find damage, and `retrieve_fd` of a file that cannot be restored:
//!   these errors are final, because memory may have been claimed by then.
//! - An outgoing session that is closed gives everything back.
//! - A file that cannot be frozen refuses the kexec: `reboot(2)` returns the error, and everything
//!   goes on as before. A refusal by another member of the notifier chain has the same effect.
//! - What is damaged in the incoming state costs as little as possible: a file, a session, or all
//!   of them. The answer is `EIO`, one line in the log says why, and memory that nobody can make
//!   sense of stays reserved. See `incoming/`.
//! - A user that dies closes its files: outgoing sessions are given back, incoming ones finished.
//!
//! # Locks
//!
//! From the outermost to the innermost. A task takes a lock only while it holds none of those below
//! it. All of them sleep. None is held while user memory is accessed, because a page fault can take
//! any time, and `reboot(2)` waits for lock 1. There is one exception: `write(2)` takes lock 4, and
//! accesses user memory under it. A writer that hangs therefore holds up a task that waits for lock
//! 4 with lock 1 held, and `reboot(2)`. Both can be killed, and the log names the tasks that
//! `reboot(2)` waits for. The kernel holds `misc_mtx` outside of all when the device is opened.
//!
//! 1. [`freeze::FreezeLock`]. Everything that changes a session holds it for reading, as `Running`
//!    proves; `reboot(2)` holds it for writing from the moment when a kexec is entered. If the
//!    kexec goes through, the lock is never released: tasks that wait for it wait for a kernel that
//!    does not return.
//! 2. `outgoing::Registry::blocks`, while sessions are serialized, or one comes or goes. Then
//!    `outgoing::Registry::sessions` or `incoming::Registry::sessions`, for one lookup, insertion or
//!    removal. The former also while files of this module's own handlers are frozen, the latter while
//!    the list of incoming sessions is read; that is when the device, or their list in debugfs, is
//!    first opened, and without lock 1. Nobody holds both.
//! 3. The files of a session: `outgoing::FileSet::files` and `incoming::Session::state`: for one
//!    lookup or change, never while the pages of a file are walked or a handler is asked. A file that
//!    is being retrieved is in a state of its own meanwhile; files that are frozen, or asked whether
//!    they can be finished, are taken out. A task that wants such files waits on
//!    `incoming::Session::retrieved`, which releases the lock. Files may need each other:
//!    `incoming::files` finds out if tasks would wait in a circle.
//! 4. The lock of an inode whose file is being preserved, unpreserved or retrieved. Its holder has
//!    lock 1 for reading, and neither 2 nor 3.
//! 5. [`identities::Identities`], and `Orchestrator::root`: for one operation. The second also while
//!    FLBs are written, which takes 9 and 11.
//! 6. `Slices` of `file_handlers/memfd.rs`, the part of a folio array that no worker has taken yet:
//!    while one of them claims the next array page. Workers take locks 4, 6 and 7. The task they
//!    work for holds lock 1, and none of 2 to 7 while it waits for them.
//! 7. `kapi::handover::Handover::claims`, one of many: for one look at memory that was handed over,
//!    or one claim, in a block of memory. Nobody holds two.
//!
//! A reader of the lists in debugfs (`listing.rs`) takes for one lookup: one of the two `sessions` of 2,
//! and 3 for outgoing sessions; or one of 11; of 9, only if nobody has it. So it waits for no callback
//! of another module, not even for one that holds up a kexec.
//!
//! Callbacks of other modules may take any time. They run with lock 1 held, and in this order with the
//! locks of `file_handlers/` and `kapi/gate.rs`:
//!
//! 8. The gate of a handler: no lock, but a task that unregisters the handler waits until its callbacks
//!    have returned. A callback may lead to another one, because a file may need another file of its
//!    session (`kapi/session_ref.rs`).
//! 9. `Flb::outgoing` and `Flb::incoming`, each held during the callbacks of that direction. A callback
//!    of a handler may get an FLB; one of an FLB may not get the same one.
//! 10. The gate of an FLB, as 8.
//! 11. `Registry::lists` of `file_handlers/registry.rs`, then `ForeignHandler::flbs`,
//!     `Arrived::entries` and `kapi::handler_api::API`: for one lookup or change. No callback runs
//!     meanwhile.
//! 12. `kapi::module::Owner::state`, a spinlock, while a reference to another module is taken or put.

mod blocks;
mod commands;
mod device;
mod fdinfo;
mod freeze;
mod identities;
mod incoming;
mod kexec;
mod limits;
mod listing;
mod name;
mod orchestrator;
mod outgoing;
mod root;
mod shared;

pub(crate) use self::{
    device::OpenDevice,
    listing::directory,
    orchestrator::Orchestrator, //
};
