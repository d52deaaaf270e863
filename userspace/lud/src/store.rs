// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file descriptor store of the service manager, from which a restarted agent takes over.
//!
//! ```text
//!   device          the open device
//!   owners-out      the list of owners for the next kernel, a memfd
//!   owners-in       the list of the previous kernel
//!   own-out         the outgoing session that has owners-out
//!   own-in          the incoming session that has owners-in, until that is retrieved
//!   out-HEX, in-HEX a session of a program, with the bytes of its name in hexadecimal
//! ```
//!
//! The names of sessions may have bytes that a name in the store may not, hence the hexadecimal.
//! The service manager does not answer a message that stores a file descriptor. So a barrier
//! follows each of them: the caller goes on when the service manager has handled it.

use crate::notify::Notifier;
use crate::refusal::Failed;
use liveupdate::agent::protocol::Direction;
use liveupdate::SessionName;
use rustix::io::Errno;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// A file descriptor of the agent in the store, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// The device.
    Device,
    /// A list of owners.
    Owners(Direction),
    /// The agent's own session.
    Own(Direction),
    /// A program's session.
    Session(Direction, SessionName),
}

const fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "out",
        Direction::Incoming => "in",
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("device"),
            Self::Owners(direction) => write!(f, "owners-{}", side(*direction)),
            Self::Own(direction) => write!(f, "own-{}", side(*direction)),
            Self::Session(direction, name) => {
                let mut hex = String::new();
                for byte in name.as_bytes() {
                    write!(hex, "{byte:02x}")?;
                }
                write!(f, "{}-{hex}", side(*direction))
            }
        }
    }
}

impl Item {
    /// Reads a name of the store.
    pub fn parse(text: &str) -> Option<Self> {
        const BOTH: [Direction; 2] = [Direction::Outgoing, Direction::Incoming];
        let fixed = [Self::Device]
            .into_iter()
            .chain(BOTH.map(Self::Owners))
            .chain(BOTH.map(Self::Own))
            .find(|item| item.to_string() == text);
        if fixed.is_some() {
            return fixed;
        }
        let (word, hex) = text.split_once('-')?;
        let direction = BOTH.into_iter().find(|it| side(*it) == word)?;
        if hex.len() % 2 != 0 || !hex.is_ascii() {
            return None;
        }
        let bytes: Option<Vec<u8>> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
            .collect();
        let item = Self::Session(direction, SessionName::new(bytes?).ok()?);
        // One name has one text: no "0A" beside "0a", and no "+a".
        (item.to_string() == text).then_some(item)
    }
}

/// The store, or nothing if there is no service manager.
#[derive(Debug)]
pub struct Store {
    notifier: Option<Notifier>,
    /// How many file descriptors it has, as this process counts them.
    len: Cell<usize>,
    /// How many it can have. The service manager does not report those that it drops.
    capacity: usize,
}

impl Store {
    /// The number in lud.service, for a service manager that does not set `$FDSTORE`.
    const CAPACITY: usize = 4096;

    /// Uses the store of the service manager.
    pub fn new(notifier: Option<Notifier>) -> Self {
        if notifier.is_none() {
            tracing::warn!(
                "no service manager: the sessions of programs end with this process, unless \
                 programs hold them"
            );
        }
        let told = std::env::var("FDSTORE").ok().and_then(|n| n.parse().ok());
        Self {
            notifier,
            len: Cell::new(0),
            capacity: told.unwrap_or(Self::CAPACITY),
        }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.notifier.is_some()
    }

    /// Counts what is already there.
    pub fn adopt(&self, count: usize) {
        self.len.set(self.len.get() + count);
    }

    /// Stores a file descriptor, and returns when the store has it.
    pub fn add(&self, item: Item, fd: &OwnedFd) -> Result<(), Failed> {
        let Some(notifier) = &self.notifier else {
            return Ok(());
        };
        if self.len.get() >= self.capacity {
            return Err(Failed::new(
                Errno::NOSPC,
                "the service manager stores no more file descriptors for the agent",
            ));
        }
        // Without FDPOLL=0, the service manager closes some kinds of files on its own.
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={item}");
        notifier
            .send(&text, Some(fd.as_fd()))
            .and_then(|()| notifier.barrier())
            .map_err(|errno| {
                tracing::error!("cannot store {item} in the service manager: {errno}");
                // It may be there all the same.
                let _ = notifier.send(&format!("FDSTOREREMOVE=1\nFDNAME={item}"), None);
                Failed::new(errno, "the service manager does not store the session")
            })?;
        self.len.set(self.len.get() + 1);
        tracing::debug!("stored {item}");
        Ok(())
    }

    /// Removes a file descriptor, and returns when it is out of the store. systemd closes it in a
    /// process of its own, so the file can stay open for a moment longer.
    pub fn remove(&self, item: Item) -> Result<(), Failed> {
        let Some(notifier) = &self.notifier else {
            return Ok(());
        };
        notifier
            .send(&format!("FDSTOREREMOVE=1\nFDNAME={item}"), None)
            .and_then(|()| notifier.barrier())
            .map_err(|errno| {
                tracing::error!("cannot remove {item} from the service manager: {errno}");
                Failed::new(errno, "the service manager does not answer")
            })?;
        self.len.set(self.len.get().saturating_sub(1));
        tracing::debug!("removed {item}");
        Ok(())
    }

    /// Sends the service manager a message that needs no barrier.
    pub fn tell(&self, text: &str) {
        if let Some(notifier) = &self.notifier {
            if let Err(errno) = notifier.send(text, None) {
                tracing::warn!("cannot tell the service manager: {errno}");
            }
        }
    }
}

/// The file descriptors that the service manager has passed.
#[derive(Debug, Default)]
pub struct Adopted {
    items: Vec<(Item, OwnedFd)>,
    others: Vec<(String, OwnedFd)>,
}

impl Adopted {
    /// Sorts them by their names.
    pub fn new(inherited: Vec<(String, OwnedFd)>) -> Self {
        let mut adopted = Self::default();
        for (name, fd) in inherited {
            match Item::parse(&name) {
                Some(item) => adopted.items.push((item, fd)),
                None => adopted.others.push((name, fd)),
            }
        }
        adopted
    }

    /// How many of them the store has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes the file descriptor of that name.
    pub fn take(&mut self, item: Item) -> Option<OwnedFd> {
        let at = self.items.iter().position(|(it, _)| *it == item)?;
        Some(self.items.swap_remove(at).1)
    }

    /// Takes the file descriptors whose names are not ours, such as the socket.
    pub fn take_others(&mut self) -> Vec<(String, OwnedFd)> {
        std::mem::take(&mut self.others)
    }

    /// Takes the rest.
    pub fn take_items(&mut self) -> Vec<(Item, OwnedFd)> {
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_session_has_a_name_in_the_store(bytes in proptest::collection::vec(1_u8..=255, 1..=63)) {
            let name = SessionName::new(bytes).expect("a good name");
            for direction in [Direction::Outgoing, Direction::Incoming] {
                let item = Item::Session(direction, name);
                let text = item.to_string();
                // The rules of FDNAME.
                prop_assert!(text.len() <= 255);
                prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
                prop_assert_eq!(Item::parse(&text), Some(item));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            if let Some(item) = Item::parse(&text) {
                prop_assert_eq!(item.to_string(), text);
            }
        }
    }

    #[test]
    fn names_that_the_agent_does_not_write_are_not_read() {
        for text in [
            "out-", "out-0", "out-00", "out-4G", "out-4A", "out-+1", "up-61", "", "-",
        ] {
            assert_eq!(Item::parse(text), None, "{text}");
        }
        assert_eq!(Item::parse("own-in"), Some(Item::Own(Direction::Incoming)));
    }
}
