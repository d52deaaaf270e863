// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command `vmm`.

fn main() -> std::process::ExitCode {
    vmm::run()
}
