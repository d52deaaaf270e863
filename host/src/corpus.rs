// SPDX-License-Identifier: GPL-2.0-only

//! The inputs that the fuzzers found interesting, once more.

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

        /// No target is left out here.
        #[test]
        fn of_all_targets() {
            let mut seen: Vec<_> = fs::read_dir(folder("fuzz_targets"))
                .unwrap()
                .map(|file| file.unwrap().path().file_stem().unwrap().to_owned())
                .collect();
            seen.sort();
            assert_eq!(seen, [$(stringify!($name)),*]);
        }
    };
}

targets!(chains, claims, entries, folios, memfd, root);

fn replay(name: &str, target: fn(&[u8])) {
    let folder = folder("corpus").join(name);
    let mut seen = 0;
    for file in fs::read_dir(&folder).expect("a corpus for each target") {
        target(&fs::read(file.unwrap().path()).unwrap());
        seen += 1;
    }
    println!("corpus/{name}: {seen} inputs");
    assert!(seen > 0, "{} is empty", folder.display());
}
