// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Starts that the service manager of the tests in `tests/` cannot cause.

use super::*;
use crate::refusal::Failed;
use liveupdate::Token;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// A kernel whose sessions are all incoming ones of one name.
struct Kernel(SessionName);

fn null() -> OwnedFd {
    File::open("/dev/null").expect("/dev/null opens").into()
}

impl Orchestrator for Kernel {
    fn create(&self, _: &SessionName) -> Result<OwnedFd, Failed> {
        Ok(null())
    }

    fn retrieve(&self, _: &SessionName) -> Result<OwnedFd, Failed> {
        Err(Failed::new(Errno::NOENT, "there is none"))
    }

    fn identify(&self, _: &OwnedFd) -> Option<(Direction, SessionName)> {
        Some((Incoming, self.0))
    }

    fn preserve(&self, _: &OwnedFd, _: Token, _: BorrowedFd<'_>) -> Result<(), Failed> {
        Ok(())
    }

    fn retrieve_file(&self, _: &OwnedFd, _: Token) -> Result<OwnedFd, Failed> {
        Err(Failed::new(Errno::NOENT, "there is none"))
    }

    fn finish(&self, _: &OwnedFd) -> Result<(), Failed> {
        Ok(())
    }
}

/// A service manager can carry a session across the kexec by itself.
#[test]
fn a_stored_session_that_became_incoming_is_kept_as_such() {
    let name = SessionName::new("vm").expect("a good name");
    let item = Item::Session(Outgoing, name);
    let adopted = Adopted::new(vec![(item.to_string(), null())]);
    let sessions =
        Sessions::start(Box::new(Kernel(name)), Store::new(None), adopted).expect("it starts");
    assert!(sessions.incoming.held.contains_key(&name));
    assert!(sessions.outgoing.held.is_empty());
    // It has no owner in the list, so it is root's.
    assert_eq!(sessions.incoming.owner(&name), 0);
}
