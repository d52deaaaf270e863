// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which process holds a session: `/proc/PID/fd`, `fdinfo`, `comm` and `cgroup`.
//!
//! The lists name the process that created a session. It may have passed the session on, so that
//! another process, or the service manager, holds it now.

use crate::lists::Direction;
use crate::root::Root;
use crate::word::Word;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// What `readlink(2)` of a session's fd begins with. The rest is the name, as it is.
const LINK: &[u8] = b"anon_inode:[luo_session] ";

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its main thread.
    pub command: Option<Word>,
    /// The system's unit of systemd that it belongs to.
    pub unit: Option<String>,
}

impl Process {
    /// Looks at a process; nothing if it is gone.
    pub fn find(root: &Root, pid: u32) -> Option<Self> {
        let directory = format!("proc/{pid}");
        let path = root.path(format!("{directory}/comm"));
        let mut command = fs::read(path).ok()?;
        if command.last() == Some(&b'\n') {
            command.pop();
        }
        let unit = root.read(format!("{directory}/cgroup")).ok();
        Some(Self {
            pid,
            command: Some(Word::new(command)),
            unit: unit.as_deref().and_then(unit_of),
        })
    }
}

/// Returns the unit in the text of `/proc/PID/cgroup`: the first part of the path that is a
/// service or scope. Parts after that are up to the unit, such as those of a user's services.
pub fn unit_of(cgroup: &str) -> Option<String> {
    cgroup
        .lines()
        .filter_map(|line| {
            let (_, controllers_and_path) = line.split_once(':')?;
            let (controllers, path) = controllers_and_path.split_once(':')?;
            // cgroup v2, or the hierarchy that systemd keeps beside those of v1.
            matches!(controllers, "" | "name=systemd").then_some(path)
        })
        .flat_map(|path| path.split('/'))
        .find(|part| {
            let is = |kind| part.strip_suffix(kind).is_some_and(|stem| !stem.is_empty());
            is(".service") || is(".scope")
        })
        .map(|unit| Word::new(unit).to_string())
}

/// A file in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// The token, as fdinfo writes it: `0x1`.
    pub token: String,
    /// The name of the handler.
    pub handler: String,
    /// `preserved`, `pending`, `retrieved` or `failed`.
    pub state: String,
}

/// An fd of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process that has it.
    #[serde(flatten)]
    pub process: Process,
    /// Its number there.
    pub fd: u32,
    /// From fdinfo, which the C orchestrator does not fill.
    #[serde(skip)]
    pub direction: Option<Direction>,
    /// The files of the session, if fdinfo lists them.
    #[serde(skip)]
    pub files: Vec<File>,
}

/// Holders by the name of the session.
pub type Holders = BTreeMap<Word, Vec<Holder>>;

/// Looks for sessions among all open files. Without root, only those of the user's own processes
/// are seen.
pub fn holders(root: &Root) -> Holders {
    let mut found = Holders::new();
    let mut pids: Vec<u32> = root
        .names("proc")
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        let mut fds: Vec<u32> = root
            .names(format!("proc/{pid}/fd"))
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        fds.sort_unstable();
        for fd in fds {
            let Ok(link) = fs::read_link(root.path(format!("proc/{pid}/fd/{fd}"))) else {
                continue;
            };
            let Some(name) = link.as_os_str().as_bytes().strip_prefix(LINK) else {
                continue;
            };
            let Some(process) = Process::find(root, pid) else {
                continue;
            };
            let info = root
                .read(format!("proc/{pid}/fdinfo/{fd}"))
                .unwrap_or_default();
            let (direction, files) = fdinfo(&info);
            found.entry(Word::new(name)).or_default().push(Holder {
                process,
                fd,
                direction,
                files,
            });
        }
    }
    found
}

/// Reads fdinfo of a session. Lines that are not known are left out.
fn fdinfo(text: &str) -> (Option<Direction>, Vec<File>) {
    let mut direction = None;
    let mut files = Vec::new();
    for line in text.lines() {
        match line.split_once(":\t") {
            Some(("luo-direction", word)) => direction = word.parse().ok(),
            Some(("luo-file", words)) => files.extend(file(words)),
            _ => (),
        }
    }
    (direction, files)
}

/// Reads `token=0x1 handler=memfd-v2 state=preserved`.
fn file(words: &str) -> Option<File> {
    let value = |name: &str| {
        words
            .split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            // Goes to a terminal.
            .filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(str::to_owned)
    };
    Some(File {
        token: value("token")?,
        handler: value("handler")?,
        state: value("state")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_unit_is_the_first_service_or_scope() {
        let unit = |text: &str| unit_of(text);
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(unit("0::/system.slice/vm@1.service\n"), of("vm@1.service"));
        assert_eq!(
            unit("0::/user.slice/user-0.slice/user@0.service/app.slice/a.service\n"),
            of("user@0.service")
        );
        assert_eq!(
            unit("2:memory:/x.service\n1:name=systemd:/init.scope\n0::/\n"),
            of("init.scope")
        );
        assert_eq!(unit("0::/run-7\n"), None);
        assert_eq!(unit("0::/.service\n"), None);
        assert_eq!(unit(""), None);
    }

    #[test]
    fn a_file_of_fdinfo_is_read() {
        let text = "pos:\t0\nluo-name:\tvm\nluo-direction:\tincoming\n\
                    luo-file:\ttoken=0x1f handler=memfd-v2 state=pending\nluo-file:\ttoken=2\n";
        let file = File {
            token: "0x1f".to_owned(),
            handler: "memfd-v2".to_owned(),
            state: "pending".to_owned(),
        };
        assert_eq!(fdinfo(text), (Some(Direction::Incoming), vec![file]));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = fdinfo(&text);
            let _ = unit_of(&text);
        }
    }
}
