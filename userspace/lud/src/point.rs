// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Steps at which a test can let the agent die. Without the feature `test-points`, nothing
//! happens at them.

/// Dies by SIGKILL if a test has asked for it.
///
/// The file that `$LUD_TEST_DIE` names has the name of a point. It is removed first, so that the
/// agent dies once.
#[cfg(feature = "test-points")]
pub fn point(name: &str) {
    die_at(name, Some(rustix::process::getpid()));
}

/// The same in a child process: the agent dies, and the child goes on.
#[cfg(feature = "test-points")]
pub fn point_in_child(name: &str) {
    die_at(name, rustix::process::getppid());
}

#[cfg(feature = "test-points")]
fn die_at(name: &str, pid: Option<rustix::process::Pid>) {
    let Some(path) = std::env::var_os("LUD_TEST_DIE") else {
        return;
    };
    if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == name) {
        let _ = std::fs::remove_file(&path);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Does nothing.
#[cfg(not(feature = "test-points"))]
#[inline]
pub fn point(_: &str) {}

/// Does nothing.
#[cfg(not(feature = "test-points"))]
#[inline]
pub fn point_in_child(_: &str) {}
