// SPDX-License-Identifier: GPL-2.0-only

//! What `/proc/<pid>/fdinfo/<fd>` of a session shows.
//!
//! ```text
//! luo-name:       vm-1
//! luo-direction:  outgoing
//! luo-pieces:     3
//! luo-file:       token=0x1 handler=memfd-v2 state=preserved
//! ```
//!
//! `luo-pieces` is in how many pieces of memory an outgoing session crosses: see [`Pieces`].
//!
//! A session of more than [`MAX_LISTED`] files has one line of counts instead of a line for each
//! file. The files are printed under a lock that serialization needs, so the time for that is
//! bounded.

use kernel::seq_print;

use super::name::Name;
use crate::{
    abi::pieces::Pieces,
    kapi::anon_file::FdInfo, //
};

/// With more files than that, only their number is shown.
pub(super) const MAX_LISTED: usize = 512;

/// The lines about the session itself.
pub(super) fn session(to: &FdInfo<'_>, name: &Name, direction: &str) {
    seq_print!(to, "luo-name:\t{name}\nluo-direction:\t{direction}\n");
}

/// The line about the memory of an outgoing session.
pub(super) fn pieces(to: &FdInfo<'_>, pieces: &Pieces) {
    seq_print!(to, "luo-pieces:\t{}\n", pieces.count());
}

/// The line about one file.
pub(super) fn file(to: &FdInfo<'_>, token: u64, handler: &str, state: &str) {
    seq_print!(
        to,
        "luo-file:\ttoken={token:#x} handler={handler} state={state}\n"
    );
}

/// The line about all files, as pairs of a state and the number of files in it.
pub(super) fn counts(to: &FdInfo<'_>, counts: &[(&str, usize)]) {
    seq_print!(to, "luo-files:\t");
    let mut space = "";
    for (state, count) in counts {
        seq_print!(to, "{space}{state}={count}");
        space = " ";
    }
    seq_print!(to, "\n");
}
