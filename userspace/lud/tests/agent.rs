// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The agent with a service manager and a kernel that are programs of the test.

#![cfg(feature = "test-points")]
// A test fails by a panic.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use common::{cause, name, uid, Died, Machine};
use liveupdate::agent::protocol::{Cause, Command as Order};
use rustix::process::Signal;

const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ENOSPC: i32 = 28;
const EPROTO: i32 = 71;

const OWN: &str = ">lud";

#[test]
fn a_session_outlives_the_program_the_agent_and_the_kernel() {
    let mut machine = Machine::boot();
    drop(machine.create("vm").unwrap().unwrap());
    assert_eq!(machine.kernel.alive(), format!("{OWN} >vm"));
    machine.signal(Signal::KILL);
    machine.wait_for("ready");
    assert_eq!(machine.listed(), ">vm");
    drop(machine.open("vm").unwrap().unwrap());
    assert_eq!(machine.kernel.alive(), format!("{OWN} >vm"));

    machine.kexec();
    assert_eq!(machine.listed(), "<vm");
    drop(machine.retrieve("vm").unwrap().unwrap());
    machine.signal(Signal::KILL);
    machine.wait_for("ready");
    drop(machine.retrieve("vm").unwrap().unwrap());
    assert_eq!(machine.kernel.alive(), format!("<vm {OWN}"));
    assert!(machine.release("vm").unwrap());
    machine.kernel.wait_for_alive(OWN);
    assert_eq!(machine.listed(), "");
}

/// Every step of creating a session, and what the program does next.
#[test]
fn the_agent_dies_at_every_step_of_create() {
    for (point, exists) in [
        ("create-made", false),
        ("owners-half", false),
        ("create-recorded", false),
        ("create-stored", true),
    ] {
        let mut machine = Machine::boot();
        machine.create("other").unwrap().unwrap();
        machine.die_at(point);
        assert_eq!(machine.create("vm").map(|_| ()), Err(Died), "{point}");
        machine.has_died(point);
        machine.wait_for("ready");
        assert_eq!(machine.open("vm").unwrap().is_some(), exists, "{point}");
        if !exists {
            assert_eq!(machine.listed(), ">other", "{point}");
            machine.create("vm").unwrap().unwrap();
        }
        assert_eq!(machine.listed(), ">other >vm", "{point}");
        machine.kexec();
        assert_eq!(machine.listed(), "<other <vm", "{point}");
        for text in ["vm", "other"] {
            assert!(machine.retrieve(text).unwrap().is_some(), "{point}");
        }
    }
}

#[test]
fn the_agent_dies_at_every_step_of_discard() {
    for point in ["discard-unstored", "discard-closed", "owners-half"] {
        let mut machine = Machine::boot();
        machine.create("vm").unwrap().unwrap();
        machine.create("other").unwrap().unwrap();
        machine.die_at(point);
        assert_eq!(machine.discard("vm"), Err(Died), "{point}");
        machine.has_died(point);
        machine.wait_for("ready");
        assert_eq!(machine.listed(), ">other", "{point}");
        assert_eq!(machine.kernel.alive(), format!("{OWN} >other"), "{point}");
        assert!(!machine.discard("vm").unwrap(), "{point}");
        machine.create("vm").unwrap().unwrap();
    }
}

#[test]
fn the_agent_dies_at_every_step_of_retrieve_and_release() {
    for point in [
        "retrieve-made",
        "retrieve-child-stored",
        "retrieve-stored",
        "release-unstored",
        "release-closed",
    ] {
        let mut machine = Machine::boot();
        machine.create("vm").unwrap().unwrap();
        machine.create("other").unwrap().unwrap();
        machine.kexec();
        machine.die_at(point);
        if point.starts_with("retrieve") {
            assert_eq!(machine.retrieve("vm").map(|_| ()), Err(Died), "{point}");
            machine.has_died(point);
            machine.wait_for("ready");
            // The program asks again.
            machine.retrieve("vm").unwrap().unwrap();
            assert_eq!(machine.kernel.lost(), "", "{point}");
            assert!(machine.release("vm").unwrap());
        } else {
            machine.retrieve("vm").unwrap().unwrap();
            assert_eq!(machine.release("vm"), Err(Died), "{point}");
            machine.has_died(point);
            machine.wait_for("ready");
        }
        assert_eq!(machine.kernel.alive(), OWN, "{point}");
        assert_eq!(machine.listed(), "<other", "{point}");
        assert!(machine.retrieve("vm").unwrap().is_none(), "{point}");
        assert!(machine.retrieve("other").unwrap().is_some(), "{point}");
    }
}

/// In the first kernel, and in one that takes a list over.
#[test]
fn the_agent_dies_at_every_step_of_its_start() {
    for point in [
        "start-own-made",
        "start-owners-out",
        "start-own-out",
        "retrieve-made",
        "start-own-in",
        "start-owners-in",
        "owners-half",
    ] {
        let mut machine = Machine::boot();
        machine.create("vm").unwrap().unwrap();
        machine.kernel.kexec();
        machine.stop();
        machine.die_at(point);
        machine.start();
        machine.has_died(point);
        assert_eq!(machine.listed(), "<vm", "{point}");
        assert_eq!(machine.kernel.alive(), OWN, "{point}");
        machine.create("vm").unwrap().unwrap();
        assert!(machine.retrieve("vm").unwrap().is_some(), "{point}");
        // The list for the next kernel works as well.
        machine.kexec();
        assert_eq!(machine.listed(), "<vm", "{point}");
    }
}

/// The program has its answer, so a kill loses nothing.
#[test]
fn the_agent_dies_after_its_answer() {
    let mut machine = Machine::boot();
    machine.die_at("answered");
    let session = machine.create("vm").unwrap().unwrap();
    machine.wait_for("ready");
    machine.has_died("answered");
    drop(session);
    assert_eq!(machine.listed(), ">vm");
    assert!(machine.discard("vm").unwrap());
    machine.kernel.wait_for_alive(OWN);
}

/// A rule for this user, which may be root.
fn rule(text: &str) -> String {
    format!("[[rule]]\nuser = {}\n{text}\n", uid())
}

#[test]
fn the_policy_refuses() {
    let machine = Machine::boot_with(
        &(rule("prefix = \"vm-\"\nallow = [\"create\"]\nmax_sessions = 2\n") + &rule("allow = []")),
    );
    let create = |text: &str| machine.ask(Order::Create { name: name(text) });
    assert_eq!(cause(create("other")), (Cause::Policy, EACCES));
    assert_eq!(cause(create("lud")), (Cause::Policy, EACCES));
    for text in ["vm-1", "vm-2"] {
        machine.create(text).unwrap().unwrap();
    }
    assert_eq!(cause(create("vm-3")), (Cause::Limit, ENOSPC));
    // The limit does not count the session of the same name, so the kernel refuses it.
    assert_eq!(cause(create("vm-1")), (Cause::Kernel, EEXIST));
    for order in [
        Order::Retrieve { name: name("vm-1") },
        Order::Discard { name: name("vm-1") },
        Order::Release { name: name("vm-1") },
    ] {
        assert_eq!(cause(machine.ask(order)), (Cause::Policy, EACCES));
    }
    assert_eq!(machine.list(), []);
    assert_eq!(machine.kernel.alive(), format!("{OWN} >vm-1 >vm-2"));
}

#[test]
fn a_session_that_is_not_kept_ends_with_its_program() {
    let allow = "allow = [\"create\", \"discard\", \"list\"]";
    let mut machine = Machine::boot_with(&rule(&format!("keep = false\n{allow}")));
    let session = machine.create("vm").unwrap().unwrap();
    assert_eq!(machine.kernel.alive(), format!("{OWN} >vm"));
    machine.signal(Signal::KILL);
    machine.wait_for("ready");
    assert_eq!(machine.kernel.alive(), format!("{OWN} >vm"));
    assert!(machine.open("vm").unwrap().is_none());
    drop(session);
    machine.kernel.wait_for_alive(OWN);
    // The name is free.
    machine.create("vm").unwrap().unwrap();
    assert!(machine.discard("vm").unwrap());
    assert_eq!(machine.listed(), "");
}

#[test]
fn a_new_policy_counts_and_a_bad_one_does_not() {
    let mut machine = Machine::boot();
    machine.policy(&rule("allow = [\"steal\"]"));
    machine.signal(Signal::HUP);
    machine.wait_for("ready");
    machine.create("vm-1").unwrap().unwrap();
    machine.policy(&rule("allow = []"));
    machine.signal(Signal::HUP);
    machine.wait_for("ready");
    assert!(machine.create("vm-2").unwrap().is_none());
}

#[test]
fn sigterm_ends_the_agent_and_not_its_sessions() {
    let mut machine = Machine::boot();
    machine.create("vm").unwrap().unwrap();
    machine.signal(Signal::TERM);
    machine.wait_for("ended");
    machine.wait_for("ready");
    assert_eq!(machine.listed(), ">vm");
}

#[test]
fn garbage_and_silence_hold_nobody_up() {
    use liveupdate::agent::protocol::{send, MAX_LEN};
    use rustix::net::SendFlags;

    let machine = Machine::boot();
    // More than a user may have, and none of them sends anything.
    let silent: Vec<_> = (0..40).map(|_| machine.connect()).collect();
    let garbage = machine.connect();
    for message in [&b"x"[..], &[0xff; MAX_LEN], &[0; MAX_LEN + 1], &[0xa1; 100]] {
        send(&garbage, message, None, SendFlags::empty()).unwrap();
        let (reply, _) =
            liveupdate::agent::protocol::receive(&garbage, rustix::net::RecvFlags::empty())
                .unwrap();
        let reply: liveupdate::agent::protocol::Reply =
            liveupdate::agent::protocol::decode(&reply).unwrap();
        assert_eq!(cause(Ok((reply.answer, None))), (Cause::Malformed, EPROTO));
    }
    // The one that was silent for longest is closed: there are too many.
    let now = rustix::net::RecvFlags::DONTWAIT;
    let (end, _) = liveupdate::agent::protocol::receive(&silent[0], now).unwrap();
    assert!(end.is_empty());
    // One that never reads its answers.
    let deaf = machine.connect();
    let order = liveupdate::agent::protocol::Request::new(Order::List { after: None });
    let order = liveupdate::agent::protocol::encode(&order).unwrap();
    while send(&deaf, &order, None, SendFlags::DONTWAIT).is_ok() {}
    machine.create("vm").unwrap().unwrap();
    assert_eq!(machine.listed(), ">vm");
    drop(silent);
}

#[test]
fn what_is_not_there_is_absent() {
    let machine = Machine::boot();
    let nobody = name("nobody");
    for order in [
        Order::Open { name: nobody },
        Order::Retrieve { name: nobody },
        Order::Discard { name: nobody },
        Order::Release { name: nobody },
    ] {
        assert_eq!(cause(machine.ask(order)), (Cause::Absent, ENOENT));
    }
}

/// A list has more than one message's worth.
#[test]
fn a_long_list_comes_in_parts() {
    use liveupdate::agent::protocol::{Answer, LIST_LEN};

    let machine = Machine::boot();
    let names: Vec<String> = (0..LIST_LEN + 3).map(|n| format!("vm-{n:02}")).collect();
    for text in &names {
        machine.create(text).unwrap().unwrap();
    }
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let answer = machine.ask(Order::List { after }).unwrap().0;
        let Answer::Sessions { sessions, more } = answer else {
            panic!("{answer:?}");
        };
        assert!(sessions.len() <= LIST_LEN);
        seen.extend(sessions.iter().map(|entry| entry.name.to_string()));
        after = sessions.last().map(|entry| (entry.direction, entry.name));
        if !more {
            break;
        }
    }
    assert_eq!(seen, names);
}

/// The service manager does not report the files that it drops, so the agent counts.
#[test]
fn what_cannot_be_stored_is_not_created() {
    let mut machine = Machine::boot();
    machine.stop();
    // The device, the list of owners, its session, and one of a program.
    machine.capacity = 4;
    machine.start();
    machine.create("vm-1").unwrap().unwrap();
    let refused = machine.ask(Order::Create { name: name("vm-2") });
    assert_eq!(cause(refused), (Cause::Agent, ENOSPC));
    assert_eq!(machine.listed(), ">vm-1");
    assert_eq!(machine.kernel.alive(), format!("{OWN} >vm-1"));
    assert!(machine.discard("vm-1").unwrap());
    machine.create("vm-2").unwrap().unwrap();
}

/// What cannot be stored must not be lost either: an incoming session stays with the agent.
#[test]
fn what_cannot_be_stored_is_not_lost() {
    let mut machine = Machine::boot();
    machine.create("vm").unwrap().unwrap();
    machine.kernel.kexec();
    machine.stop();
    // The device, two lists of owners, and a session.
    machine.capacity = 4;
    machine.start();
    let refused = machine.ask(Order::Retrieve { name: name("vm") });
    assert_eq!(cause(refused), (Cause::Agent, ENOSPC));
    assert_eq!(machine.kernel.lost(), "");
    assert_eq!(machine.kernel.alive(), format!("<vm {OWN}"));
}

/// Ends with the test, also if that fails.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_service_manager_it_works_and_says_what_that_means() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let mut machine = Machine::boot();
    machine.stop();
    let path = machine.directory.path();
    let agent = Command::new(env!("CARGO_BIN_EXE_lud"))
        .arg("--policy")
        .arg(path.join("policy"))
        .arg("--socket")
        .arg(path.join("lud.sock"))
        .env("LUD_TEST_DEVICE", path.join("kernel"))
        .env_remove("NOTIFY_SOCKET")
        .env_remove("JOURNAL_STREAM")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut agent = Killed(agent);
    let mut lines = BufReader::new(agent.0.stderr.take().unwrap()).lines();
    let said: Vec<String> = lines
        .by_ref()
        .map(Result::unwrap)
        .take_while(|line| line != "ready")
        .collect();
    assert!(
        said.iter()
            .any(|line| line.starts_with("warn: no service manager")),
        "{said:?}"
    );
    machine.create("vm").unwrap().unwrap();
    assert_eq!(machine.listed(), ">vm");
    drop(agent);
    assert_eq!(machine.kernel.alive(), "");
}
