// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the lists of sessions, handlers and FLBs come from.

use crate::lists::{self, Flb, Handler, Malformed, Session};
use crate::root::Root;
use std::io;

/// A place that has the lists.
pub trait Source {
    /// Returns all sessions, outgoing ones first, each direction sorted by name.
    fn sessions(&self) -> Result<Vec<Session>, Unavailable>;

    /// Returns all handlers.
    fn handlers(&self) -> Result<Vec<Handler>, Unavailable>;

    /// Returns all FLBs, one entry for each direction.
    fn flbs(&self) -> Result<Vec<Flb>, Unavailable>;
}

/// What this kernel has for live update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orchestrator {
    /// The module `liveupdate.ko`.
    Module,
    /// The C orchestrator in the kernel.
    Kernel,
    /// Neither.
    Absent,
}

impl Orchestrator {
    /// Looks for the device and the module. Every user can see both.
    pub fn find(root: &Root) -> Self {
        if root.exists("sys/module/liveupdate") {
            Self::Module
        } else if root.exists("sys/class/misc/liveupdate") || root.exists("dev/liveupdate") {
            Self::Kernel
        } else {
            Self::Absent
        }
    }

    /// A word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Kernel => "kernel",
            Self::Absent => "absent",
        }
    }
}

/// Why a list cannot be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no `/dev/liveupdate`.
    #[error(
        "this kernel has no live update: load the module with \"modprobe liveupdate\" or \
         \"insmod liveupdate.ko\", or boot a kernel that has the C orchestrator with \
         \"kho=on liveupdate=on\""
    )]
    Absent,
    /// The C orchestrator shows no lists.
    #[error(
        "this kernel has the C orchestrator, which shows no lists: \"lu check\" still looks at \
         the image, KHO and its scratch memory, and /proc/PID/fd shows who holds a session \
         (links to \"anon_inode:[luo_session] NAME\")"
    )]
    NoLists,
    /// The file system with the lists is not mounted.
    #[error("debugfs is not mounted: \"mount -t debugfs debugfs /sys/kernel/debug\"")]
    NoDebugfs,
    /// debugfs is mounted, and lacks the lists.
    #[error(
        "the module has no lists in /sys/kernel/debug/liveupdate: the kernel was booted with \
         \"debugfs=off\", or the module is older than this command"
    )]
    OldModule,
    /// Only root can read debugfs.
    #[error("only root can read /sys/kernel/debug/liveupdate: run \"sudo lu\"")]
    NotRoot,
    /// A list is not what this program knows.
    #[error("cannot understand /sys/kernel/debug/liveupdate/{list}: {why}")]
    Malformed {
        /// The name of the list.
        list: &'static str,
        /// What is wrong.
        why: Malformed,
    },
    /// Something else.
    #[error("cannot read /sys/kernel/debug/liveupdate/{list}: {why}")]
    Io {
        /// The name of the list.
        list: &'static str,
        /// What failed.
        why: io::Error,
    },
}

/// The lists of the module in debugfs, which root can read.
#[derive(Debug)]
pub struct Debugfs<'a> {
    root: &'a Root,
}

impl<'a> Debugfs<'a> {
    /// Reads below `root`.
    pub fn new(root: &'a Root) -> Self {
        Self { root }
    }

    fn list<T>(
        &self,
        list: &'static str,
        parse: impl Fn(&str) -> Result<Vec<T>, Malformed>,
    ) -> Result<Vec<T>, Unavailable> {
        // Without the module there is nothing to read, for any user.
        match Orchestrator::find(self.root) {
            Orchestrator::Module => (),
            Orchestrator::Kernel => return Err(Unavailable::NoLists),
            Orchestrator::Absent => return Err(Unavailable::Absent),
        }
        let text = self
            .root
            .read(format!("sys/kernel/debug/liveupdate/{list}"))
            .map_err(|why| match why.kind() {
                io::ErrorKind::PermissionDenied => Unavailable::NotRoot,
                io::ErrorKind::NotFound if debugfs_mounted(self.root) => Unavailable::OldModule,
                io::ErrorKind::NotFound => Unavailable::NoDebugfs,
                _ => Unavailable::Io { list, why },
            })?;
        parse(&text).map_err(|why| Unavailable::Malformed { list, why })
    }
}

impl Source for Debugfs<'_> {
    fn sessions(&self) -> Result<Vec<Session>, Unavailable> {
        self.list("sessions", lists::sessions)
    }

    fn handlers(&self) -> Result<Vec<Handler>, Unavailable> {
        self.list("handlers", lists::handlers)
    }

    fn flbs(&self) -> Result<Vec<Flb>, Unavailable> {
        self.list("flbs", lists::flbs)
    }
}

/// Whether debugfs is mounted where the lists are expected.
pub fn debugfs_mounted(root: &Root) -> bool {
    root.read("proc/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| {
            let mut words = line.split(' ').skip(1);
            words.next() == Some("/sys/kernel/debug") && words.next() == Some("debugfs")
        })
    })
}
