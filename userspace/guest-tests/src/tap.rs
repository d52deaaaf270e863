// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Cases and their lines of KTAP, as `selftests/lib/stages.h` has them in C.

use std::fmt;
use std::io::Write;

/// Why a case ended before its end.
#[derive(Debug)]
pub struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub type Outcome = Result<(), Failure>;

/// Fails the case unless both are equal.
// Callers compare temporaries.
#[allow(clippy::needless_pass_by_value)]
pub fn equal<T: PartialEq + fmt::Debug>(seen: T, expected: T, what: &str) -> Outcome {
    if seen == expected {
        Ok(())
    } else {
        Err(Failure(format!(
            "{what}: expected {expected:?}, seen {seen:?}"
        )))
    }
}

/// Fails the case unless the condition holds.
pub fn holds(condition: bool, what: &str) -> Outcome {
    equal(condition, true, what)
}

/// Returns the error of a call that must fail.
pub fn fails<T, E>(result: Result<T, E>, what: &str) -> Result<E, Failure> {
    match result {
        Ok(_) => Err(Failure(format!("{what}: expected an error, seen none"))),
        Err(error) => Ok(error),
    }
}

/// Prints the lines of a program's stage, and counts failures.
pub struct Report {
    number: usize,
    failed: usize,
}

impl Report {
    pub fn begin(cases: usize) -> Self {
        println!("TAP version 13\n1..{cases}");
        Self {
            number: 0,
            failed: 0,
        }
    }

    pub fn case(&mut self, name: &str, outcome: &Outcome) {
        self.number += 1;
        if let Err(failure) = outcome {
            self.failed += 1;
            println!("# {name}: {failure}");
            print!("not ");
        }
        println!("ok {} {name}", self.number);
        // Each line leaves at once: the next case may crash the kernel.
        let _ = std::io::stdout().flush();
    }

    pub fn passed(&self) -> bool {
        self.failed == 0
    }
}
