// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Device or agent, whichever a program can have.

use super::Agent;
use crate::{Device, Error, IncomingSession, OutgoingSession, Reason, SessionName};
use std::path::Path;

/// Where sessions come from: the device if this program can open it, else the agent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Host {
    /// The device.
    Device(Device),
    /// The agent.
    Agent(Agent),
}

impl Host {
    /// Opens the device, or else connects to the agent.
    ///
    /// # Errors
    ///
    /// Those of [`Device::open`] if no agent listens.
    pub fn open() -> Result<Self, Error> {
        Self::open_paths(Device::PATH, Agent::PATH)
    }

    /// The same with other paths of device and agent.
    ///
    /// # Errors
    ///
    /// As [`Host::open`].
    pub fn open_paths(device: impl AsRef<Path>, agent: impl AsRef<Path>) -> Result<Self, Error> {
        let error = match Device::open_path(device) {
            Ok(device) => return Ok(Self::Device(device)),
            Err(error) => error,
        };
        match error.reason() {
            Reason::DeviceAbsent | Reason::DeviceBusy | Reason::Permission => {
                match Agent::connect_path(agent) {
                    Ok(agent) => Ok(Self::Agent(agent)),
                    Err(absent) if absent.reason() == Reason::AgentAbsent => Err(error),
                    Err(other) => Err(other),
                }
            }
            _ => Err(error),
        }
    }

    /// Creates a session for the next kernel.
    ///
    /// # Errors
    ///
    /// As [`Device::create_session`] or [`Agent::create_session`].
    pub fn create_session(&self, name: &SessionName) -> Result<OutgoingSession, Error> {
        match self {
            Self::Device(device) => device.create_session(name),
            Self::Agent(agent) => agent.create_session(name),
        }
    }

    /// Retrieves a session of the previous kernel.
    ///
    /// # Errors
    ///
    /// As [`Device::retrieve_session`] or [`Agent::retrieve_session`].
    pub fn retrieve_session(&self, name: &SessionName) -> Result<IncomingSession, Error> {
        match self {
            Self::Device(device) => device.retrieve_session(name),
            Self::Agent(agent) => agent.retrieve_session(name),
        }
    }

    /// Finishes a session that came from here.
    ///
    /// # Errors
    ///
    /// As [`IncomingSession::finish`] or [`Agent::finish`].
    pub fn finish_session(&self, session: IncomingSession) -> Result<(), Error> {
        match self {
            Self::Device(_) => session.finish().map_err(Error::from),
            Self::Agent(agent) => agent.finish(session),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_device_and_agent_the_error_is_that_of_the_device() {
        let error = Host::open_paths("/nonexistent/device", "/nonexistent/lud.sock")
            .expect_err("neither is there");
        assert_eq!(error.reason(), Reason::DeviceAbsent);
    }
}
