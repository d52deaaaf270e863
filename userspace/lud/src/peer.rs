// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The process at the other end of a connection.
//!
//! Its user, groups and number are those of the moment when it called `connect(2)`. A program that
//! passes its connection on passes its rights on.
//!
//! # The cgroup
//!
//! No system call returns the cgroup of a peer: it is in `/proc/PID/cgroup`. When the agent reads
//! that file, the number could be that of a later process. The pidfd of the socket rules that out:
//! the agent polls it after it has read the file, and if its process still lives, the number has
//! belonged to it all the time. The cgroup is the one at that moment. A process that may move
//! itself to another cgroup chooses its rule, so a rule for a cgroup is as good as the protection
//! of that cgroup. Kernels before Linux 6.5 have no such pidfd; then the cgroup is not known.

use crate::policy::Who;
use liveupdate::agent::server;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::fs;
use std::os::fd::OwnedFd;

/// Asks the kernel.
pub fn who(socket: &OwnedFd) -> Result<Who, Errno> {
    let peer = server::peer(socket)?;
    let cgroup = peer.pidfd.as_ref().and_then(|pidfd| {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", peer.pid)).ok()?;
        lives(pidfd).then(|| unified(&text))?
    });
    Ok(Who {
        uid: peer.uid,
        gids: peer.gids,
        pid: peer.pid,
        cgroup,
    })
}

/// Whether the process of a pidfd has not ended: a pidfd is readable after that.
fn lives(pidfd: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) == Ok(0)
}

/// The path in the hierarchy of cgroup v2.
fn unified(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_that_of_version_2() {
        let text = "2:memory:/a\n0::/system.slice/a:b.service\n";
        assert_eq!(unified(text).as_deref(), Some("/system.slice/a:b.service"));
        assert_eq!(unified("1:name=systemd:/x\n"), None);
    }

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let who = who(&OwnedFd::from(ours)).expect("a peer");
        assert_eq!(who.uid, rustix::process::getuid().as_raw());
        assert_eq!(who.pid, std::process::id());
    }
}
