// SPDX-License-Identifier: GPL-2.0-only

//! Which process a task belongs to.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use kernel::{
    current,
    task::Pid, //
};

use super::bindings;

/// The number and the name that a process had when it was asked. It may be gone since.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: Pid,
    /// Ended by a NUL.
    name: [u8; NAME_SIZE],
}

/// The size of `comm` of `struct task_struct`.
const NAME_SIZE: usize = bindings::LU_TASK_COMM_LEN as usize;

impl Process {
    /// The process of the current task.
    ///
    /// # Context
    ///
    /// Process context.
    pub(crate) fn current() -> Self {
        let mut name = [0; NAME_SIZE];
        // SAFETY: There are as many bytes as the function writes.
        unsafe { bindings::lu_process_name(name.as_mut_ptr().cast()) };
        Self {
            pid: current!().group_leader().pid(),
            name,
        }
    }

    /// The number of the process, as the initial PID namespace counts.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The name of the process: any bytes, up to the first NUL.
    pub(crate) fn name(&self) -> &[u8] {
        self.name
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
    }
}
