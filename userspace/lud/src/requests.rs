// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One request of a program: read it, ask the policy, carry it out, answer.

use crate::own;
use crate::point::point;
use crate::policy::{Denied, Grant, Policy, Verb, Who};
use crate::refusal::refuse;
use crate::sessions::Sessions;
use liveupdate::agent::protocol::{
    self, Answer, Cause, Command, Malformed, Refusal, Reply, Request, LIST_LEN,
};
use liveupdate::SessionName;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::os::fd::{AsFd, OwnedFd};

/// Reads one request and answers it. Returns whether the connection goes on.
pub fn answer(socket: &OwnedFd, who: &Who, policy: &Policy, sessions: &mut Sessions) -> bool {
    let request = match protocol::receive(socket, RecvFlags::DONTWAIT) {
        Ok((bytes, _)) if bytes.is_empty() => return false,
        Ok((bytes, _)) => protocol::decode::<Request>(&bytes),
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(Errno::MSGSIZE) => Err(Malformed::TooLong),
        Err(_) => return false,
    };
    let (answer, fd, undelivered) = match request {
        Ok(request) => match carry_out(&request.command, who, policy, sessions) {
            Ok((answer, fd)) => {
                let created = match request.command {
                    Command::Create { name } => Some(name),
                    _ => None,
                };
                (answer, fd, created)
            }
            Err(refusal) => {
                tracing::info!(
                    "refuses {} to user {}, process {}: {}",
                    described(&request.command),
                    who.uid,
                    who.pid,
                    refusal.sentence
                );
                (Answer::Refused(refusal), None, None)
            }
        },
        Err(malformed) => {
            tracing::info!("user {}, process {}: {malformed}", who.uid, who.pid);
            let refusal = refuse(Cause::Malformed, Errno::PROTO, malformed.to_string());
            (Answer::Refused(refusal), None, None)
        }
    };
    let sent = protocol::encode(&Reply::new(answer))
        .map_err(|_| Errno::MSGSIZE)
        .and_then(|reply| {
            let fd = fd.as_ref().map(AsFd::as_fd);
            protocol::send(socket, &reply, fd, SendFlags::DONTWAIT)
        });
    point("answered");
    if let Err(errno) = sent {
        tracing::debug!("process {} does not take its answer: {errno}", who.pid);
        drop(fd);
        if let Some(name) = undelivered {
            sessions.undelivered(&name);
        }
        return false;
    }
    true
}

fn described(command: &Command) -> String {
    let (verb, name) = match command {
        Command::Create { name } => ("create", name),
        Command::Open { name } => ("open", name),
        Command::Retrieve { name } => ("retrieve", name),
        Command::Discard { name } => ("discard", name),
        Command::Release { name } => ("release", name),
        Command::List { .. } => return "list".to_owned(),
    };
    format!("{verb} \"{name}\"")
}

/// Asks the policy, and refuses the agent's own name.
fn allowed(policy: &Policy, who: &Who, verb: Verb, name: &SessionName) -> Result<Grant, Refusal> {
    if name.as_bytes() == own::NAME.as_bytes() {
        let sentence = format!("the name \"{name}\" is that of the agent's own session");
        return Err(refuse(Cause::Policy, Errno::ACCESS, sentence));
    }
    policy
        .decide(who, verb, name.as_bytes())
        .map_err(|denied: Denied| {
            let sentence = format!("user {} may not {verb} \"{name}\": {denied}", who.uid);
            refuse(Cause::Policy, Errno::ACCESS, sentence)
        })
}

/// Does what a program asks for.
fn carry_out(
    command: &Command,
    who: &Who,
    policy: &Policy,
    sessions: &mut Sessions,
) -> Result<(Answer, Option<OwnedFd>), Refusal> {
    let session = |fd| (Answer::Session, Some(fd));
    let answer = match command {
        Command::Create { name } => {
            let grant = allowed(policy, who, Verb::Create, name)?;
            session(sessions.create(who, grant, name)?)
        }
        Command::Open { name } => {
            let grant = allowed(policy, who, Verb::Create, name)?;
            session(sessions.open(who, grant, name)?)
        }
        Command::Retrieve { name } => {
            let grant = allowed(policy, who, Verb::Retrieve, name)?;
            session(sessions.retrieve(who, grant, name)?)
        }
        Command::Discard { name } => {
            let grant = allowed(policy, who, Verb::Discard, name)?;
            sessions.discard(who, grant, name)?;
            (Answer::Done, None)
        }
        Command::Release { name } => {
            let grant = allowed(policy, who, Verb::Retrieve, name)?;
            sessions.release(who, grant, name)?;
            (Answer::Done, None)
        }
        Command::List { after } => {
            let visible = |name: &SessionName| policy.decide(who, Verb::List, name.as_bytes()).ok();
            let (sessions, more) = sessions.list(who, *after, LIST_LEN, visible);
            return Ok((Answer::Sessions { sessions, more }, None));
        }
    };
    tracing::info!(
        "user {}, process {}: {}",
        who.uid,
        who.pid,
        described(command)
    );
    sessions.say_status();
    Ok(answer)
}
