// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls of each kind of file, as enums: a `match` on one names every command, and no others.

use core::ops::RangeInclusive;

use kernel::prelude::*;

use super::name::Name;
use crate::kapi::ioctl::*;

/// The numbers that sessions of both directions share: a command of the other direction is known,
/// and fails with `EINVAL`.
const SESSION_NUMBERS: RangeInclusive<u32> = PRESERVE_FD..=GET_NAME;

/// What the device does.
pub(super) enum DeviceCommand {
    /// `LIVEUPDATE_IOCTL_CREATE_SESSION`.
    CreateSession(UserArg<liveupdate_ioctl_create_session>),
    /// `LIVEUPDATE_IOCTL_RETRIEVE_SESSION`.
    RetrieveSession(UserArg<liveupdate_ioctl_retrieve_session>),
}

impl Commands for DeviceCommand {
    const NUMBERS: RangeInclusive<u32> = CREATE_SESSION..=RETRIEVE_SESSION;

    fn new(number: u32, arg: UserArg) -> Option<Self> {
        match number {
            CREATE_SESSION => Some(Self::CreateSession(arg.of_type())),
            RETRIEVE_SESSION => Some(Self::RetrieveSession(arg.of_type())),
            _ => None,
        }
    }
}

/// What an outgoing session does.
pub(super) enum OutgoingCommand {
    /// `LIVEUPDATE_SESSION_PRESERVE_FD`.
    PreserveFd(UserArg<liveupdate_session_preserve_fd>),
    /// `LIVEUPDATE_SESSION_GET_NAME`.
    GetName(UserArg<liveupdate_session_get_name>),
}

impl Commands for OutgoingCommand {
    const NUMBERS: RangeInclusive<u32> = SESSION_NUMBERS;

    fn new(number: u32, arg: UserArg) -> Option<Self> {
        match number {
            PRESERVE_FD => Some(Self::PreserveFd(arg.of_type())),
            GET_NAME => Some(Self::GetName(arg.of_type())),
            _ => None,
        }
    }
}

/// What an incoming session does.
pub(super) enum IncomingCommand {
    /// `LIVEUPDATE_SESSION_RETRIEVE_FD`.
    RetrieveFd(UserArg<liveupdate_session_retrieve_fd>),
    /// `LIVEUPDATE_SESSION_FINISH`.
    Finish(UserArg<liveupdate_session_finish>),
    /// `LIVEUPDATE_SESSION_GET_NAME`.
    GetName(UserArg<liveupdate_session_get_name>),
}

impl Commands for IncomingCommand {
    const NUMBERS: RangeInclusive<u32> = SESSION_NUMBERS;

    fn new(number: u32, arg: UserArg) -> Option<Self> {
        match number {
            RETRIEVE_FD => Some(Self::RetrieveFd(arg.of_type())),
            FINISH => Some(Self::Finish(arg.of_type())),
            GET_NAME => Some(Self::GetName(arg.of_type())),
            _ => None,
        }
    }
}

/// `LIVEUPDATE_SESSION_GET_NAME`, the same in both directions.
///
/// # Context
///
/// Accesses user memory: no lock may be held.
pub(super) fn get_name(arg: &UserArg<liveupdate_session_get_name>, name: &Name) -> Result {
    let mut args = arg.read()?;
    if args.reserved != 0 {
        return Err(EINVAL);
    }
    args.name = *name.as_field();
    arg.write(&args)
}
