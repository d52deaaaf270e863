// SPDX-License-Identifier: GPL-2.0-only

//! No reader panics on an input of the corpus: those that a fuzzer found, and those written by
//! hand.
//!
//! Each test has the name of its fuzz target.

use std::{fs, path::PathBuf};

use crate::fuzz;

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", name].iter().collect()
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name), fuzz::$name);
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let mut targets: Vec<_> = fs::read_dir(folder("fuzz_targets"))
                .unwrap()
                .map(|file| file.unwrap().path().file_stem().unwrap().to_owned())
                .collect();
            targets.sort();
            assert_eq!(targets, [$(stringify!($name)),*]);
        }
    };
}

targets!(chains, claims, entries, folios, memfd, root);

/// Runs a target on all inputs of its folder.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = folder("corpus").join(name);
    let mut replayed = 0;
    for file in fs::read_dir(&folder).expect("each target has a corpus") {
        target(&fs::read(file.unwrap().path()).unwrap());
        replayed += 1;
    }
    println!("corpus/{name}: {replayed} inputs");
    assert!(replayed > 0, "{} is empty", folder.display());
}
