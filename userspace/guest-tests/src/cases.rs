// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One case for each promise of the crate that needs a kernel.

use crate::tap::{equal, fails, holds, Failure, Outcome};
use liveupdate::memory::{self, Options};
use liveupdate::state::{self, State};
use liveupdate::{
    Device, IncomingSession, InvalidName, Operation, OutgoingSession, Reason, SessionName, Token,
};
use rustix::fs::{SealFlags, SeekFrom};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

pub struct Context {
    pub device: Device,
}

/// A name and its two halves. The first one may keep more sessions than its own.
pub struct Case {
    pub name: &'static str,
    pub preserve: fn(&Context, &OutgoingSession, &mut Vec<OutgoingSession>) -> Outcome,
    pub retrieve: fn(&Context, IncomingSession) -> Outcome,
}

pub const CASES: &[Case] = &[
    Case {
        name: "memfd",
        preserve: preserve_memfd,
        retrieve: retrieve_memfd,
    },
    Case {
        name: "state",
        preserve: preserve_state,
        retrieve: retrieve_state,
    },
    Case {
        name: "tokens",
        preserve: preserve_tokens,
        retrieve: retrieve_tokens,
    },
    Case {
        name: "names",
        preserve: preserve_names,
        retrieve: retrieve_names,
    },
    Case {
        name: "errors",
        preserve: preserve_errors,
        retrieve: retrieve_errors,
    },
    Case {
        name: "directions",
        preserve: preserve_directions,
        retrieve: retrieve_directions,
    },
    Case {
        name: "handed_over",
        preserve: preserve_handed_over,
        retrieve: retrieve_handed_over,
    },
    Case {
        name: "dropped",
        preserve: preserve_dropped,
        retrieve: retrieve_dropped,
    },
    Case {
        name: "sparse",
        preserve: preserve_sparse,
        retrieve: retrieve_sparse,
    },
    Case {
        name: "collapsed",
        preserve: preserve_collapsed,
        retrieve: retrieve_collapsed,
    },
];

const FIRST: Token = Token::new(1);
const SECOND: Token = Token::new(2);

/// The bytes at an offset of the file with that seed.
fn pattern(seed: u64, offset: u64, len: u64) -> Vec<u8> {
    (offset..offset + len)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).to_be_bytes()[0])
        .collect()
}

fn write(fd: &OwnedFd, seed: u64, offset: u64, len: u64) -> Outcome {
    // The duplicate shares the position, which stays where it is.
    let file = File::from(fd.try_clone()?);
    std::os::unix::fs::FileExt::write_all_at(&file, &pattern(seed, offset, len), offset)?;
    Ok(())
}

fn check(fd: &OwnedFd, seed: u64, offset: u64, len: u64, what: &str) -> Outcome {
    let file = File::from(fd.try_clone()?);
    let mut content = vec![0; usize::try_from(len)?];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut content, offset)?;
    holds(content == pattern(seed, offset, len), what)
}

fn memfd(seed: u64, len: u64) -> Result<OwnedFd, Failure> {
    let fd = Options::new("test").size(len).create()?;
    write(&fd, seed, 0, len)?;
    Ok(fd)
}

fn size(fd: &OwnedFd) -> Result<i64, Failure> {
    Ok(rustix::fs::fstat(fd)?.st_size)
}

fn parts(fd: BorrowedFd<'_>) -> Result<Vec<std::ops::Range<u64>>, Failure> {
    Ok(memory::data(fd)?.collect::<Result<_, _>>()?)
}

// Content, size, position and seals.

fn preserve_memfd(_: &Context, session: &OutgoingSession, _: &mut Vec<OutgoingSession>) -> Outcome {
    let fd = memfd(1, 3 * MIB + 17)?;
    rustix::fs::seek(&fd, SeekFrom::Start(4711))?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK)?;
    session.preserve(FIRST, &fd)?;
    // What is written after preserve crosses too.
    write(&fd, 2, MIB, PAGE)
}

fn retrieve_memfd(_: &Context, session: IncomingSession) -> Outcome {
    let fd = session.retrieve(FIRST)?;
    session.finish()?;
    equal(size(&fd)?, 3 * (1 << 20) + 17, "size")?;
    equal(rustix::fs::tell(&fd)?, 4711, "position")?;
    equal(
        rustix::fs::fcntl_get_seals(&fd)?,
        SealFlags::SHRINK,
        "seals",
    )?;
    check(&fd, 1, 0, MIB, "the beginning")?;
    check(&fd, 2, MIB, PAGE, "the page written after preserve")?;
    check(&fd, 1, MIB + PAGE, 2 * MIB + 17 - PAGE, "the rest")?;
    write(&fd, 3, 0, PAGE)
}

// A state file.

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    name: String,
    registers: Vec<u64>,
    clock: Option<i64>,
}

impl State for Machine {
    const KIND: &'static str = "test machine";
    const VERSION: u32 = 3;
    const OLDEST: u32 = 2;
}

fn machine() -> Machine {
    Machine {
        name: "gue\u{df}t".into(),
        registers: (0..10_000).map(|i| i << 40).collect(),
        clock: Some(-1),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Other;

impl State for Other {
    const KIND: &'static str = "test of another kind";
    const VERSION: u32 = 1;
}

fn preserve_state(_: &Context, session: &OutgoingSession, _: &mut Vec<OutgoingSession>) -> Outcome {
    session.preserve(FIRST, state::save(&machine())?)?;
    Ok(session.preserve(SECOND, memfd(3, PAGE)?)?)
}

fn retrieve_state(_: &Context, session: IncomingSession) -> Outcome {
    let file = session.retrieve(FIRST)?;
    equal(
        state::load::<Machine>(file.as_fd())?,
        machine(),
        "the state",
    )?;
    let header = state::inspect_file(file.as_fd())?;
    equal(header.version, Machine::VERSION, "its version")?;
    let seals = rustix::fs::fcntl_get_seals(&file)?;
    holds(
        seals.contains(SealFlags::WRITE | SealFlags::SEAL | SealFlags::GROW | SealFlags::SHRINK),
        "its seals",
    )?;
    match state::load::<Other>(file.as_fd()) {
        Err(state::Error::OtherKind { .. }) => {}
        other => equal(format!("{other:?}").as_str(), "OtherKind", "another kind")?,
    }
    match state::load::<Machine>(session.retrieve(SECOND)?.as_fd()) {
        Err(state::Error::NotAState) => {}
        other => equal(format!("{other:?}").as_str(), "NotAState", "another file")?,
    }
    Ok(session.finish()?)
}

// All 64-bit numbers are tokens.

const TOKENS: [u64; 4] = [0, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0];

fn preserve_tokens(
    _: &Context,
    session: &OutgoingSession,
    _: &mut Vec<OutgoingSession>,
) -> Outcome {
    for token in TOKENS {
        session.preserve(token.into(), memfd(token, PAGE)?)?;
    }
    Ok(())
}

fn retrieve_tokens(_: &Context, session: IncomingSession) -> Outcome {
    for token in TOKENS {
        let fd = session.retrieve(token.into())?;
        check(&fd, token, 0, PAGE, "content")?;
    }
    Ok(session.finish()?)
}

// Names of any bytes, and of the greatest length.

fn names() -> Result<[SessionName; 3], InvalidName> {
    Ok([
        SessionName::new([b'n'; SessionName::MAX_LEN])?,
        SessionName::new([0xff, b'/', b'\n', 0x80])?,
        SessionName::new("gue\u{df}t \u{1f980}")?,
    ])
}

fn preserve_names(
    context: &Context,
    session: &OutgoingSession,
    kept: &mut Vec<OutgoingSession>,
) -> Outcome {
    for name in names()? {
        let other = context.device.create_session(&name)?;
        equal(other.get_name()?, name, "get_name")?;
        equal(*other.name(), name, "name")?;
        let taken = fails(context.device.create_session(&name), "the same name again")?;
        equal(taken.reason(), Reason::NameTaken, "the same name again")?;
        equal(taken.session_name(), Some(&name), "the name in the error")?;
        kept.push(other);
    }
    equal(session.get_name()?, *session.name(), "get_name")
}

fn retrieve_names(context: &Context, session: IncomingSession) -> Outcome {
    for name in names()? {
        let other = context.device.retrieve_session(&name)?;
        equal(other.get_name()?, name, "get_name")?;
        other.finish()?;
    }
    equal(session.get_name()?, *session.name(), "get_name")?;
    Ok(session.finish()?)
}

// What an error says.

fn preserve_errors(
    _: &Context,
    session: &OutgoingSession,
    _: &mut Vec<OutgoingSession>,
) -> Outcome {
    let busy = fails(Device::open(), "a second open")?;
    equal(busy.reason(), Reason::DeviceBusy, "a second open")?;

    let fd = memfd(4, PAGE)?;
    session.preserve(FIRST, &fd)?;
    let again = fails(session.preserve(SECOND, &fd), "the same file")?;
    equal(again.reason(), Reason::AlreadyPreserved, "the same file")?;
    equal(again.operation(), Operation::Preserve, "the operation")?;
    equal(again.file_token(), Some(SECOND), "the token")?;
    let taken = fails(session.preserve(FIRST, memfd(5, PAGE)?), "the same token")?;
    equal(taken.reason(), Reason::TokenTaken, "the same token")?;
    let device = File::open("/dev/null")?;
    let unknown = fails(session.preserve(SECOND, &device), "a device")?;
    equal(unknown.reason(), Reason::NoHandler, "a device")
}

fn retrieve_errors(context: &Context, session: IncomingSession) -> Outcome {
    let absent = SessionName::new("crate.no such session")?;
    let error = fails(context.device.retrieve_session(&absent), "no such session")?;
    equal(error.reason(), Reason::SessionAbsent, "no such session")?;
    let error = fails(
        context.device.retrieve_session(session.name()),
        "the session again",
    )?;
    equal(error.reason(), Reason::SessionTaken, "the session again")?;

    let error = fails(session.retrieve(SECOND), "no such token")?;
    equal(error.reason(), Reason::TokenAbsent, "no such token")?;
    equal(error.file_token(), Some(SECOND), "the token")?;
    let fd = session.retrieve(FIRST)?;
    let again = session.retrieve(FIRST)?;
    rustix::fs::seek(&fd, SeekFrom::Start(5))?;
    equal(rustix::fs::tell(&again)?, 5, "the position of both")?;
    Ok(session.finish()?)
}

// A session of one direction is not taken for one of the other.

fn preserve_directions(
    context: &Context,
    session: &OutgoingSession,
    _: &mut Vec<OutgoingSession>,
) -> Outcome {
    let duplicate = OwnedFd::from(session.try_clone()?);
    let rejected = fails(IncomingSession::try_from(duplicate), "an outgoing session")?;
    equal(rejected.error.reason(), Reason::WrongDirection, "outgoing")?;
    let back = OutgoingSession::try_from(rejected.object)?;
    equal(back.name(), session.name(), "the name")?;
    // The token that the check of the direction uses may be in use.
    back.preserve(u64::MAX.into(), memfd(6, PAGE)?)?;
    let back = OutgoingSession::try_from(OwnedFd::from(back))?;
    drop(back);

    let rejected = fails(
        OutgoingSession::try_from(memfd(7, PAGE)?),
        "a memfd for a session",
    )?;
    equal(rejected.error.reason(), Reason::NotASession, "a memfd")?;
    // The device does not answer to the commands of a session.
    let device = OwnedFd::from(File::open("/dev/null")?);
    holds(OutgoingSession::try_from(device).is_err(), "/dev/null")?;
    // The duplicates are closed, and the session still has its name.
    let taken = fails(context.device.create_session(session.name()), "its name")?;
    equal(taken.reason(), Reason::NameTaken, "its name")
}

fn retrieve_directions(_: &Context, session: IncomingSession) -> Outcome {
    let duplicate = OwnedFd::from(session.try_clone()?);
    let rejected = fails(OutgoingSession::try_from(duplicate), "an incoming session")?;
    equal(rejected.error.reason(), Reason::WrongDirection, "incoming")?;
    let back = IncomingSession::try_from(rejected.object)?;
    check(&back.retrieve(u64::MAX.into())?, 6, 0, PAGE, "content")?;
    Ok(session.finish()?)
}

// A daemon makes sessions for another process, which sends the session back to be held.

fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Outcome {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let fds = [fd];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    holds(
        control.push(SendAncillaryMessage::ScmRights(&fds)),
        "room for a file descriptor",
    )?;
    let data = [std::io::IoSlice::new(b"s")];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.ok_or_else(|| Failure::from(std::io::Error::other("no file descriptor came")))
}

fn preserve_handed_over(
    context: &Context,
    _: &OutgoingSession,
    kept: &mut Vec<OutgoingSession>,
) -> Outcome {
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    let name = SessionName::new("crate.sent")?;
    let made = OwnedFd::from(context.device.create_session(&name)?);
    send(one.as_fd(), made.as_fd())?;
    drop(made);
    let session = OutgoingSession::try_from(receive(other.as_fd())?)?;
    equal(session.name(), &name, "the name")?;
    session.preserve(FIRST, memfd(8, PAGE)?)?;
    kept.push(session);
    Ok(())
}

fn retrieve_handed_over(context: &Context, session: IncomingSession) -> Outcome {
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    let name = SessionName::new("crate.sent")?;
    let made = OwnedFd::from(context.device.retrieve_session(&name)?);
    send(one.as_fd(), made.as_fd())?;
    drop(made);
    let sent = IncomingSession::try_from(receive(other.as_fd())?)?;
    equal(sent.name(), &name, "the name")?;
    let fd = sent.retrieve(FIRST)?;
    sent.finish()?;
    check(&fd, 8, 0, PAGE, "content")?;
    Ok(session.finish()?)
}

// Dropping an outgoing session gives its name and its files back.

fn preserve_dropped(
    context: &Context,
    session: &OutgoingSession,
    _: &mut Vec<OutgoingSession>,
) -> Outcome {
    let name = SessionName::new("crate.gone")?;
    let mut fd = File::from(memfd(9, PAGE)?);
    let first = context.device.create_session(&name)?;
    first.preserve(FIRST, &fd)?;
    holds(fd.set_len(2 * PAGE).is_err(), "the size is fixed")?;
    drop(first);
    fd.set_len(2 * PAGE)?;
    fd.write_all(b"x")?;
    let second = context.device.create_session(&name)?;
    second.preserve(FIRST, &fd)?;
    drop(second);
    Ok(session.preserve(FIRST, &fd)?)
}

fn retrieve_dropped(context: &Context, session: IncomingSession) -> Outcome {
    let name = SessionName::new("crate.gone")?;
    let error = fails(context.device.retrieve_session(&name), "a dropped session")?;
    equal(error.reason(), Reason::SessionAbsent, "a dropped session")?;
    // Dropping an incoming session finishes it: it cannot be retrieved again.
    let own = *session.name();
    drop(session);
    let error = fails(context.device.retrieve_session(&own), "a finished session")?;
    holds(
        matches!(error.reason(), Reason::SessionAbsent | Reason::SessionTaken),
        "a finished session",
    )
}

// Walking a sparse file fills no hole, before the kexec and after it.

const SPARSE: [(u64, u64); 3] = [(0, PAGE), (5 * MIB, 2 * PAGE), (63 * MIB, MIB)];

fn sparse_parts() -> Vec<std::ops::Range<u64>> {
    SPARSE.iter().map(|(at, len)| *at..at + len).collect()
}

fn preserve_sparse(
    _: &Context,
    session: &OutgoingSession,
    _: &mut Vec<OutgoingSession>,
) -> Outcome {
    let fd = Options::new("sparse").size(64 * MIB).create()?;
    for (at, len) in SPARSE {
        write(&fd, 10, at, len)?;
    }
    rustix::fs::seek(&fd, SeekFrom::Start(99))?;
    for walk in ["the first walk", "the second walk"] {
        equal(parts(fd.as_fd())?, sparse_parts(), walk)?;
    }
    // From here on, the C orchestrator has filled the holes.
    Ok(session.preserve(FIRST, &fd)?)
}

fn retrieve_sparse(_: &Context, session: IncomingSession) -> Outcome {
    let fd = session.retrieve(FIRST)?;
    session.finish()?;
    // There is more if the C orchestrator has filled the holes.
    let seen = parts(fd.as_fd())?;
    for part in sparse_parts() {
        holds(
            seen.iter()
                .any(|seen| seen.start <= part.start && part.end <= seen.end),
            "data of the old kernel",
        )?;
    }
    for (at, len) in SPARSE {
        check(&fd, 10, at, len, "content")?;
    }
    equal(rustix::fs::tell(&fd)?, 99, "position")
}

// Memory in huge pages.

/// The memory of tmpfs and memfds in huge pages, in bytes.
fn huge_memory() -> Result<u64, Failure> {
    let all = std::fs::read_to_string("/proc/meminfo")?;
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix("ShmemHugePages:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.unwrap_or("0").parse::<u64>()? * 1024)
}

fn preserve_collapsed(
    _: &Context,
    session: &OutgoingSession,
    _: &mut Vec<OutgoingSession>,
) -> Outcome {
    let fd = memfd(11, 4 * MIB + PAGE)?;
    let before = huge_memory()?;
    let mut done = memory::collapse(fd.as_fd());
    for _ in 0..10 {
        if done.as_ref().map_or(true, |done| done.huge == 4 * MIB) {
            break;
        }
        // Somebody else may use a page for a moment.
        std::thread::sleep(std::time::Duration::from_millis(100));
        done = memory::collapse(fd.as_fd());
    }
    match done {
        Ok(done) => {
            equal((done.huge, done.left), (4 * MIB, PAGE), "collapsed")?;
            equal(huge_memory()?, before + 4 * MIB, "memory in huge pages")?;
        }
        // A kernel may have no transparent huge pages.
        Err(error) => equal(error.reason(), Reason::Unsupported, "without huge pages")?,
    }
    check(&fd, 11, 0, 4 * MIB + PAGE, "content")?;
    Ok(session.preserve(FIRST, &fd)?)
}

fn retrieve_collapsed(_: &Context, session: IncomingSession) -> Outcome {
    let fd = session.retrieve(FIRST)?;
    session.finish()?;
    check(&fd, 11, 0, 4 * MIB + PAGE, "content")
}
