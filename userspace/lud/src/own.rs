// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The agent's own sessions, which carry the list of owners across kexec.
//!
//! At its start the agent takes the list of an earlier agent from the store, or else that of the
//! previous kernel, or else begins one. It can be killed after each step and start again: every
//! step stores what it has made before the next one begins.

use crate::device::{retrieve_and_store, Orchestrator};
use crate::owners::Owners;
use crate::point::point;
use crate::refusal::Failed;
use crate::store::{Adopted, Item, Store};
use anyhow::{Context, Result};
use liveupdate::agent::protocol::Direction::{Incoming, Outgoing};
use liveupdate::{SessionName, Token};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The list of owners in the agent's session.
const OWNERS: Token = Token::new(1);

/// The name of the agent's own session, which no program gets.
pub const NAME: &str = "lud";

/// The same as a name.
pub fn name() -> Result<SessionName> {
    SessionName::new(NAME).context("a wrong name")
}

/// Finds the list of the previous kernel.
pub fn incoming(
    orchestrator: &dyn Orchestrator,
    store: &Store,
    adopted: &mut Adopted,
) -> Result<Owners> {
    if let Some(fd) = adopted.take(Item::Owners(Incoming)) {
        // The agent died after it had stored the list.
        if adopted.take(Item::Own(Incoming)).is_some() {
            store.remove(Item::Own(Incoming))?;
        }
        return Ok(Owners::load(fd).unwrap_or_else(|| {
            tracing::error!("the stored list of owners is damaged, all sessions belong to root");
            Owners::none()
        }));
    }
    let session = match adopted.take(Item::Own(Incoming)) {
        Some(session) => session,
        None => match retrieve_and_store(orchestrator, store, Item::Own(Incoming), &name()?) {
            // If it is not stored, an agent that dies here loses the owners: the kernel gives the
            // session once.
            Ok((session, _)) => {
                point("start-own-in");
                session
            }
            Err(failed) if failed.is(Errno::NOENT) => {
                tracing::debug!("the previous kernel has left no list of owners");
                return Ok(Owners::none());
            }
            Err(failed) => {
                tracing::error!("no list of owners, all sessions belong to root: {failed}");
                return Ok(Owners::none());
            }
        },
    };
    // An agent that fails here starts again, and needs the session for that.
    let owners = retrieve_list(orchestrator, store, &session)?;
    // The list is stored by now, or cannot be read.
    if let Err(failed) = orchestrator.finish(&session) {
        tracing::warn!("cannot finish the session of the list of owners: {failed}");
    }
    store.remove(Item::Own(Incoming))?;
    Ok(owners)
}

fn retrieve_list(
    orchestrator: &dyn Orchestrator,
    store: &Store,
    session: &OwnedFd,
) -> Result<Owners> {
    let fd = match orchestrator.retrieve_file(session, OWNERS) {
        Ok(fd) => fd,
        Err(failed) => {
            tracing::error!("no list of owners, all sessions belong to root: {failed}");
            return Ok(Owners::none());
        }
    };
    let Some(mut owners) = Owners::load(fd) else {
        tracing::error!("the list of owners is damaged, all sessions belong to root");
        return Ok(Owners::none());
    };
    // The flags say what the agent of the previous kernel kept. This one has retrieved nothing yet.
    owners.set_kept(None, false)?;
    if let Some(file) = owners.file() {
        let copy = file
            .try_clone_to_owned()
            .context("cannot duplicate a file")?;
        store.add(Item::Owners(Incoming), &copy)?;
        point("start-owners-in");
    }
    tracing::info!(
        "the previous kernel has handed over {} sessions of programs",
        owners.list().len()
    );
    Ok(owners)
}

/// Finds the list for the next kernel, or begins one. The session that carries it must be kept.
pub fn outgoing(
    orchestrator: &dyn Orchestrator,
    store: &Store,
    adopted: &mut Adopted,
) -> Result<(OwnedFd, Owners)> {
    let owners = adopted.take(Item::Owners(Outgoing));
    let session = adopted.take(Item::Own(Outgoing));
    let stored = [
        (owners.is_some(), Item::Owners(Outgoing)),
        (session.is_some(), Item::Own(Outgoing)),
    ];
    let own_name = name()?;
    let is_own = |session: &OwnedFd| orchestrator.identify(session) == Some((Outgoing, own_name));
    if let (Some(owners), Some(session)) = (owners.and_then(Owners::load), session.filter(is_own)) {
        return Ok((session, owners));
    }
    // An agent that died before it stored both has created no session for a program. If the list
    // is damaged, the sessions that are stored become root's.
    for (_, item) in stored.into_iter().filter(|(found, _)| *found) {
        store.remove(item)?;
    }
    let owners = Owners::create()?;
    let file = owners
        .file()
        .ok_or_else(|| Failed::new(Errno::BADF, "the list of owners has no file"))?;
    let session = orchestrator.create(&own_name)?;
    orchestrator.preserve(&session, OWNERS, file)?;
    point("start-own-made");
    store.add(
        Item::Owners(Outgoing),
        &file
            .try_clone_to_owned()
            .context("cannot duplicate a file")?,
    )?;
    point("start-owners-out");
    store.add(Item::Own(Outgoing), &session)?;
    point("start-own-out");
    Ok((session, owners))
}
