// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the command does besides serving.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

fn lud(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lud"))
        .args(arguments)
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap()
}

#[test]
fn a_policy_is_checked() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("policy");
    let file = path.to_str().unwrap();
    fs::write(&path, "[[rule]]\nuser = 1000\nallow = [\"list\"]\n").unwrap();
    let good = lud(&["check-policy", file]);
    assert_eq!(
        String::from_utf8_lossy(&good.stdout),
        format!("{file}: 1 rule\n")
    );
    assert_eq!(good.status.code(), Some(0));

    fs::write(&path, "[[rule]]\nuser = 1000\nmay = [\"list\"]\n").unwrap();
    let bad = lud(&["check-policy", file]);
    let error = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(error.contains("unknown field `may`"), "{error}");
    assert!(
        error.starts_with("error: cannot use the policy "),
        "{error}"
    );
    assert_eq!(bad.status.code(), Some(1));
}

#[test]
fn pages_and_completions_are_written() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_str().unwrap();
    for what in ["man", "completions"] {
        assert!(lud(&["generate", what, path]).status.success(), "{what}");
    }
    for name in ["lud.1", "lud-check-policy.1", "lud.bash", "_lud"] {
        assert!(directory.path().join(name).exists(), "{name}");
    }
}
