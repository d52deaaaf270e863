// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command on systems that a test has made: directories with `proc`, `sys` and `dev`.

// A test fails by a panic.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const SESSIONS: &str = "name direction state files pages pieces age pid comm\n";
const LISTS: &str = "sys/kernel/debug/liveupdate";

/// A system below a directory.
struct System(TempDir);

/// What the command printed.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: i32,
    out: String,
    err: String,
}

impl System {
    /// Everything is as it should be: one session crosses, and an image is loaded.
    fn good() -> Self {
        let system = Self(TempDir::new().unwrap());
        system
            .file("proc/cmdline", "console=ttyS0 kho=on\n")
            .file("proc/mounts", "debugfs /sys/kernel/debug debugfs rw 0 0\n")
            .file("dev/liveupdate", "")
            .file("sys/module/liveupdate/initstate", "live\n")
            .file("sys/kernel/kexec_loaded", "1\n")
            .file(
                "sys/kernel/debug/kho/out/scratch_len",
                "0x2000000\n0x10000000\n",
            )
            .sessions("vm-1 outgoing open 2 4097 3 7500 42 agent\n")
            .file(
                &format!("{LISTS}/handlers"),
                "name module flbs\nmemfd-v2 liveupdate 0\n",
            )
            .file(
                &format!("{LISTS}/flbs"),
                "name direction state files users module\n",
            );
        system.process(42, "agent", "0::/system.slice/agent.service\n");
        system.fd(42, 5, "anon_inode:[luo_session] vm-1");
        system.file(
            "proc/42/fdinfo/5",
            "pos:\t0\nluo-name:\tvm-1\nluo-direction:\toutgoing\nluo-pieces:\t3\n\
             luo-file:\ttoken=0x1 handler=memfd-v2 state=preserved\n\
             luo-file:\ttoken=0x2 handler=memfd-v2 state=preserved\n",
        );
        system
    }

    /// A kernel without live update.
    fn bare() -> Self {
        let system = Self(TempDir::new().unwrap());
        system
            .file("proc/cmdline", "console=ttyS0\n")
            .file("proc/mounts", "debugfs /sys/kernel/debug debugfs rw 0 0\n")
            .file("sys/kernel/kexec_loaded", "0\n")
            .file("sys/kernel/debug/other", "");
        system
    }

    /// The C orchestrator: a device, no module and no lists.
    fn in_kernel() -> Self {
        let system = Self::good();
        system.remove("sys/module/liveupdate").remove(LISTS);
        system
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn sessions(&self, lines: &str) -> &Self {
        self.file(&format!("{LISTS}/sessions"), format!("{SESSIONS}{lines}"))
    }

    fn process(&self, pid: u32, comm: &str, cgroup: &str) -> &Self {
        self.file(&format!("proc/{pid}/comm"), format!("{comm}\n"))
            .file(&format!("proc/{pid}/cgroup"), cgroup)
    }

    fn fd(&self, pid: u32, fd: u32, link: &str) -> &Self {
        let directory = self.0.path().join(format!("proc/{pid}/fd"));
        fs::create_dir_all(&directory).unwrap();
        symlink(link, directory.join(fd.to_string())).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Self {
        let path = self.0.path().join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    fn lu(&self, arguments: &[&str]) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_lu"))
            .arg("--root")
            .arg(self.0.path())
            .args(arguments)
            // No test can enter another kernel on this machine.
            .env("PATH", "/nonexistent")
            .output()
            .unwrap();
        Answer {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The findings of `lu check` that are not good, and its exit status.
    fn check(&self, arguments: &[&str]) -> (i32, Vec<String>) {
        let answer = self.lu(&[&["check"], arguments].concat());
        let findings = answer.out.lines().filter(|line| {
            ["note ", "unknown ", "loss "]
                .iter()
                .any(|level| line.starts_with(level))
        });
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        (answer.status, findings.map(words).collect())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// One finding besides the two about what the kernel does not tell of a loaded image.
fn one_more(findings: (i32, Vec<String>)) -> (i32, String) {
    let (status, all) = findings;
    let mut others = all
        .into_iter()
        .filter(|line| !line.starts_with("note image") && !line.starts_with("note next"));
    let first = others.next().unwrap_or_default();
    let rest: Vec<_> = others.collect();
    assert_eq!(rest, Vec::<String>::new(), "after {first}");
    (status, first)
}

#[test]
fn ls_is_a_table() {
    let system = System::good();
    system.sessions(
        "a\\x20b outgoing busy 0 0 0 0 43 gone\n\
         vm-1 outgoing open 2 4097 3 7500 42 agent\n\
         vm-2 incoming pending 2 - - - - -\n",
    );
    let answer = system.lu(&["ls"]);
    let expected = "\
NAME     DIRECTION  STATE    FILES  SIZE      PIECES  AGE        PID  COMMAND      UNIT
a\\x20b   outgoing   busy     0      0 B       0       0 s        43   gone (gone)  -
vm-1     outgoing   open     2      16.0 MiB  3       2 h 5 min  42   agent        agent.service
vm-2     incoming   pending  2      -         -       -          -    -            -
";
    assert_eq!(squeezed(&answer.out), squeezed(expected));
    assert_eq!((answer.status, answer.err.as_str()), (0, ""));
    // The columns begin at the same place in each line.
    let column = |line: &str| line.find("outgoing").or(line.find("incoming"));
    let places: Vec<_> = answer.out.lines().skip(1).map(column).collect();
    assert_eq!(places, [Some(8), Some(8), Some(8)]);
}

/// Blanks beyond the first are left out.
fn squeezed(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn ls_has_stable_fields() {
    let answer = System::good().lu(&["ls", "--json"]);
    let expected = r#"{
  "sessions": [
    {
      "name": "vm-1",
      "direction": "outgoing",
      "state": "open",
      "owner": null,
      "files": 2,
      "pages": 4097,
      "bytes": 16781312,
      "pieces": 3,
      "age": 7500,
      "creator": {
        "pid": 42,
        "command": "agent",
        "unit": "agent.service",
        "alive": true
      },
      "holders": [
        {
          "pid": 42,
          "command": "agent",
          "unit": "agent.service",
          "fd": 5
        }
      ]
    }
  ]
}
"#;
    assert_eq!(answer.out, expected);
}

#[test]
fn show_has_the_files() {
    let answer = System::good().lu(&["show", "vm-1"]);
    let expected = "\
vm-1  outgoing open
  files    2
  size     16.0 MiB in 4097 pages
  pieces   3
  age      2 h 5 min
  creator  42 agent, agent.service
  holder   42 agent, agent.service, fd 5
  file     0x1 memfd-v2 preserved
  file     0x2 memfd-v2 preserved
";
    assert_eq!(answer.out, expected);
}

#[test]
fn a_session_can_be_named_as_printed_or_as_it_is() {
    let system = System::good();
    system.sessions("a\\x20b outgoing open 0 0 0 0 42 agent\n");
    assert_eq!(system.lu(&["show", "a\\x20b"]).status, 0);
    assert_eq!(system.lu(&["show", "a b"]).status, 0);
    let answer = system.lu(&["show", "a\x1b"]);
    assert_eq!(
        (answer.status, answer.err.as_str()),
        (1, "lu: there is no session \"a\\x1b\"\n")
    );
}

#[test]
fn a_holder_of_the_other_direction_is_not_named() {
    let system = System::good();
    system.sessions(
        "vm-1 outgoing open 2 4097 3 7500 42 agent\nvm-1 incoming retrieved 2 - - 1 43 old\n",
    );
    system.process(43, "old", "0::/\n");
    system.fd(43, 9, "anon_inode:[luo_session] vm-1");
    system.file("proc/43/fdinfo/9", "luo-direction:\tincoming\n");
    let answer = system.lu(&["ls"]);
    let pids: Vec<_> = squeezed(&answer.out)
        .iter()
        .skip(1)
        .map(|line| line.contains(" 43 old"))
        .collect();
    assert_eq!(pids, [false, true]);
}

#[test]
fn what_is_missing_is_said() {
    let error = |system: &System| {
        let answer = system.lu(&["ls"]);
        assert_eq!((answer.status, answer.out.as_str()), (1, ""));
        answer.err
    };
    assert!(error(&System::bare()).contains("this kernel has no live update"));
    assert!(error(&System::in_kernel()).contains("has the C orchestrator, which shows no lists"));
    let system = System::good();
    system.remove(LISTS);
    assert!(error(&system).contains("the module has no lists"));
    system.file("proc/mounts", "proc /proc proc rw 0 0\n");
    assert!(error(&system).contains("debugfs is not mounted"));
    let system = System::good();
    system.sessions("vm-1 outgoing\n");
    assert!(error(&system).contains("sessions: line 2 has 2 words, the first line 9"));
}

#[test]
fn status_tells_what_it_can_without_lists() {
    let answer = System::in_kernel().lu(&["status"]);
    assert_eq!(
        answer.out,
        "orchestrator  the C orchestrator in the kernel\nnext kernel   loaded\n"
    );
    assert_eq!(answer.status, 1);
}

#[test]
fn a_good_system_is_good() {
    let (status, findings) = System::good().check(&[]);
    assert_eq!(status, 0);
    assert_eq!(findings.len(), 2, "{findings:?}");
    let answer = System::good().lu(&["check"]);
    assert!(answer
        .out
        .ends_with("\na kexec would carry everything that is preserved\n"));
}

#[test]
fn each_finding_has_a_reason_of_its_own() {
    let with = |change: &dyn Fn(&System)| {
        let system = System::good();
        change(&system);
        one_more(system.check(&[]))
    };
    let loss = |text: &str| (1, format!("loss {text}"));
    let note = |text: &str| (0, format!("note {text}"));

    assert_eq!(
        with(&|system| {
            system.file("sys/kernel/kexec_loaded", "0\n");
        }),
        loss("image no image is loaded: there is no next kernel")
    );
    assert_eq!(
        with(&|system| {
            system.sessions("vm-1 outgoing busy 2 4097 3 7500 42 agent\n");
        }),
        loss("outgoing session vm-1: a task is preserving a file")
    );
    assert_eq!(
        with(&|system| {
            system.sessions("vm-1 outgoing frozen 2 4097 3 7500 42 agent\n");
        }),
        loss("outgoing session vm-1 is frozen: a kexec is being entered already")
    );
    assert_eq!(
        with(&|system| {
            system.sessions("");
        }),
        note("outgoing nothing is preserved")
    );
    for state in ["pending", "retrieved", "busy"] {
        assert_eq!(
            with(&|system| {
                system.sessions(&format!(
                    "vm-1 outgoing open 2 4097 3 7500 42 agent\nvm-0 incoming {state} 1 - - - - -\n"
                ));
            }),
            loss(
                "incoming session vm-0 came in with 1 file and is not finished: incoming sessions \
                 do not cross a second kexec"
            )
        );
    }
    assert_eq!(
        with(&|system| {
            system.sessions(
                "vm-1 outgoing open 2 4097 3 7500 42 agent\nvm-0 incoming finished 1 - - - - -\n",
            );
        }),
        (0, String::new())
    );
    assert_eq!(
        with(&|system| {
            system.sessions("vm-1 outgoing open 2 4097 15000 7500 42 agent\n");
        }),
        note(
            "boot 15000 pieces of memory delay the next boot by 4 s if that kernel lacks the \
             patches of the module"
        )
    );
}

#[test]
fn a_file_without_a_handler_is_a_loss() {
    let system = System::good();
    system.file(
        &format!("{LISTS}/handlers"),
        "name module flbs\nother-v1 liveupdate 0\n",
    );
    assert_eq!(
        one_more(system.check(&[])),
        (
            1,
            "loss handlers no module has registered the handler memfd-v2, which files in sessions \
             need"
                .to_owned()
        )
    );
}

#[test]
fn a_kernel_without_live_update_has_three_losses() {
    let (status, findings) = System::bare().check(&[]);
    assert_eq!(
        (status, findings),
        (
            1,
            vec![
                "loss device this kernel has no live update, so no program can preserve a file"
                    .to_owned(),
                "loss kho KHO is off: the command line has no \"kho=on\"".to_owned(),
                "loss image no image is loaded: there is no next kernel".to_owned(),
            ]
        )
    );
}

#[test]
fn what_cannot_be_looked_at_is_not_good() {
    let (status, findings) = System::in_kernel().check(&[]);
    assert_eq!(status, 2);
    assert!(findings
        .iter()
        .any(|line| line.starts_with("unknown sessions cannot list sessions")));
    let system = System::good();
    system.remove("sys/kernel/kexec_loaded");
    assert_eq!(
        one_more(system.check(&[])),
        (
            2,
            "unknown image the kernel does not say whether an image is loaded".to_owned()
        )
    );
    // An image that does not exist either.
    let arguments = ["--kernel", "/nonexistent/image", "--command-line", "kho=on"];
    assert_eq!(System::good().check(&arguments).0, 2);
}

#[test]
fn on_a_locked_down_kernel_the_image_is_certain() {
    let system = System::good();
    system.file(
        "sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
    let (status, findings) = system.check(&[]);
    assert_eq!(status, 0);
    assert!(findings.iter().all(|line| !line.starts_with("note image")));
}

/// The beginning of a bzImage of Linux 9.9.
fn bzimage(relocatable: bool) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in image.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(0x202, b"HdrS");
    put(0x20e, &0x100_u16.to_le_bytes());
    put(0x234, &[u8::from(relocatable)]);
    put(0x300, b"9.9.0 (somebody) #1\0");
    image
}

#[test]
fn the_next_kernel_is_looked_at_before_it_is_loaded() {
    let system = System::good();
    system
        .file("sys/kernel/kexec_loaded", "0\n")
        .file("vmlinuz", bzimage(true));
    let kernel = system.path().join("vmlinuz");
    let kernel = kernel.to_str().unwrap();
    let check = |text: &str| system.check(&["--kernel", kernel, "--command-line", text]);
    let loss = |text: &str| (1, vec![format!("loss next {text}")]);
    assert_eq!(check("kho=on quiet"), (0, vec![]));
    assert_eq!(
        system.check(&["--kernel", kernel, "--reuse-cmdline"]),
        (0, vec![])
    );
    let no_kho = "the command line of the next kernel does not have \"kho=on\"";
    assert_eq!(check("quiet"), loss(no_kho));
    assert_eq!(check("kho=on kho=off"), loss(no_kho));

    system.file(
        "boot/config-9.9.0",
        "CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n",
    );
    assert_eq!(
        check("kho=on"),
        loss("9.9.0 has the C orchestrator, and its command line does not have \"liveupdate=on\"")
    );
    assert_eq!(check("kho=on liveupdate=on"), (0, vec![]));
    system
        .file("boot/config-9.9.0", "CONFIG_KEXEC_HANDOVER=y\n")
        .file("lib/modules/9.9.0/kernel/fs/ext4.ko.xz", "");
    assert_eq!(
        check("kho=on"),
        loss("9.9.0 has neither the C orchestrator nor the module liveupdate")
    );
    system.file("lib/modules/9.9.0/updates/liveupdate.ko", "");
    assert_eq!(check("kho=on"), (0, vec![]));
    system.file("boot/config-9.9.0", "# CONFIG_KEXEC_HANDOVER is not set\n");
    assert_eq!(check("kho=on"), loss("9.9.0 has no KHO"));
    system
        .remove("boot/config-9.9.0")
        .file("vmlinuz", bzimage(false));
    assert_eq!(
        check("kho=on"),
        loss("9.9.0 cannot be loaded by kexec_file_load: it is not relocatable")
    );
    system
        .file("vmlinuz", bzimage(true))
        .file("sys/kernel/debug/kho/out/scratch_len", "0x200\n0x100\n");
    assert_eq!(
        check("kho=on"),
        (
            1,
            vec![
                "loss scratch the next kernel and its initramfs (1.0 KiB) have no room in the \
                 largest scratch area (512 B)"
                    .to_owned()
            ]
        )
    );
}

#[test]
fn kexec_prints_what_it_would_run() {
    let system = System::good();
    system.file("vmlinuz", bzimage(true));
    let kernel = system.path().join("vmlinuz");
    let kernel = kernel.to_str().unwrap();
    let load = [
        "kexec",
        "--dry-run",
        "--kernel",
        kernel,
        "--command-line",
        "kho=on quiet",
    ];
    let answer = system.lu(&load);
    assert_eq!(
        (answer.status, answer.err.as_str()),
        (0, ""),
        "{}",
        answer.out
    );
    assert_eq!(
        answer.out,
        format!("kexec -s -l {kernel} '--command-line=kho=on quiet'\nkexec -x -e\n")
    );
    // Where systemd is process 1, it stops the services first.
    fs::create_dir_all(system.path().join("run/systemd/system")).unwrap();
    assert_eq!(system.lu(&["kexec", "--dry-run"]).out, "systemctl kexec\n");
}

#[test]
fn kexec_does_nothing_if_something_would_be_lost() {
    let system = System::good();
    system.sessions("vm-1 outgoing busy 2 4097 3 7500 42 agent\n");
    let answer = system.lu(&["kexec"]);
    assert_eq!((answer.status, answer.out.as_str()), (1, ""));
    assert!(answer.err.contains("a task is preserving a file"));
    assert!(answer.err.contains("nothing was loaded"));
    let answer = system.lu(&["kexec", "--dry-run", "--force"]);
    assert_eq!((answer.status, answer.out.as_str()), (0, "kexec -x -e\n"));
}

#[test]
fn packages_get_pages_and_completions() {
    let directory = TempDir::new().unwrap();
    let to = directory.path().to_str().unwrap();
    let system = System::bare();
    assert_eq!(system.lu(&["generate", "man", to]).status, 0);
    assert_eq!(system.lu(&["generate", "completions", to]).status, 0);
    for name in ["lu.1", "lu-check.1", "lu.bash", "_lu", "lu.fish"] {
        assert!(directory.path().join(name).exists(), "{name}");
    }
    assert!(!directory.path().join("lu-generate.1").exists());
}

/// An agent that answers one list: two sessions, of which it has one.
fn agent(system: &System) -> std::thread::JoinHandle<()> {
    use liveupdate::agent::protocol::{self, Answer, Command, Direction, Entry, Reply, Request};
    use liveupdate::SessionName;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};

    let path = system.path().join("run/lud.sock");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let entry = |name: &str, direction, held| Entry {
        name: SessionName::new(name).unwrap(),
        direction,
        owner: 1000,
        held,
        pid: held.then_some(42),
        age: held.then_some(7500),
    };
    let sessions = vec![
        entry("vm-1", Direction::Outgoing, true),
        entry("vm-0", Direction::Incoming, false),
    ];
    std::thread::spawn(move || {
        // The first connection only looks whether there is an agent.
        drop(rustix::net::accept(&listener).unwrap());
        let program = rustix::net::accept(&listener).unwrap();
        let (request, _) = protocol::receive(&program, RecvFlags::empty()).unwrap();
        let request: Request = protocol::decode(&request).unwrap();
        assert_eq!(request.command, Command::List { after: None });
        let more = false;
        let reply = Reply::new(Answer::Sessions { sessions, more });
        let reply = protocol::encode(&reply).unwrap();
        protocol::send(&program, &reply, None, SendFlags::empty()).unwrap();
    })
}

#[test]
fn the_agent_is_asked_if_there_are_no_lists() {
    let ask = |arguments: &[&str]| {
        let system = System::in_kernel();
        let agent = agent(&system);
        let answer = system.lu(arguments);
        agent.join().unwrap();
        assert_eq!((answer.status, answer.err.as_str()), (0, ""));
        answer.out
    };
    let expected = "\
NAME  DIRECTION  STATE    FILES  SIZE  PIECES  AGE        PID  COMMAND  UNIT
vm-1  outgoing   open     -      -     -       2 h 5 min  42   agent    agent.service
vm-0  incoming   pending  -      -     -       -          -    -        -
";
    assert_eq!(squeezed(&ask(&["ls"])), squeezed(expected));
    let json = ask(&["ls", "--json"]);
    assert!(
        json.contains("\"owner\": 1000,\n      \"files\": null,"),
        "{json}"
    );
    assert!(ask(&["show", "vm-0"]).contains("\n  owner    user 1000\n"));
    assert!(ask(&["status"]).ends_with(
        "outgoing      1 session, an unknown number of files, size not known in an unknown \
         number of pieces\nincoming      1 session, an unknown number of files, 1 not finished\n"
    ));
}

/// It knows only some sessions, so it cannot say that nothing would be lost.
#[test]
fn check_does_not_ask_the_agent() {
    let system = System::in_kernel();
    system.file("run/lud.sock", "");
    assert_eq!(system.check(&[]).0, System::in_kernel().check(&[]).0);
}
