// SPDX-License-Identifier: Apache-2.0 OR MIT
//! No reader of a state panics, or allocates more than its bounds say, whatever bytes it reads.
//! This file has one function for each fuzz target.

use liveupdate::state;

use crate::state::State;

/// Reads a file: its header, then the state.
pub fn file(data: &[u8]) {
    let header = state::inspect(data);
    if State::decode(data).is_ok() {
        assert!(header.is_ok_and(|header| header.payload_len < data.len()));
    }
}

/// Reads a payload with a header that fits it. A fuzzer does not find the checksum by itself.
///
/// A state that is accepted can be written again, and is then accepted as the same.
pub fn payload(data: &[u8]) {
    let Ok(state) = State::decode(&state_file(data)) else {
        return;
    };
    let Ok(bytes) = state::encode(&state) else {
        return;
    };
    let again = State::decode(&bytes).map(|state| state::encode(&state));
    assert!(matches!(again, Ok(Ok(again)) if again == bytes));
}

/// A state file with this payload. See the format in [`liveupdate::state`].
fn state_file(payload: &[u8]) -> Vec<u8> {
    let mut kind = <State as state::State>::KIND.as_bytes().to_vec();
    kind.resize(state::MAX_KIND_LEN, 0);
    let summed = [
        &1_u32.to_le_bytes()[..],
        &kind,
        &<State as state::State>::VERSION.to_le_bytes(),
        &[0; 4],
        &(payload.len() as u64).to_le_bytes(),
        payload,
    ]
    .concat();
    let sum = crc32fast::hash(&summed);
    [&b"LU-STATE"[..], &sum.to_le_bytes(), &summed].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::state::tests::example;

    fn folder(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", name]
            .iter()
            .collect()
    }

    /// Runs a target on all inputs of its folder.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = folder("corpus").join(name);
        let mut replayed = 0;
        for file in fs::read_dir(&folder).unwrap() {
            target(&fs::read(file.unwrap().path()).unwrap());
            replayed += 1;
        }
        println!("corpus/{name}: {replayed} inputs");
        assert!(replayed > 0, "{} is empty", folder.display());
    }

    #[test]
    fn the_corpus_of_files() {
        replay("file", file);
    }

    #[test]
    fn the_corpus_of_payloads() {
        replay("payload", payload);
    }

    #[test]
    fn every_target_is_replayed() {
        let targets = fs::read_dir(folder("fuzz_targets")).unwrap();
        let mut targets: Vec<_> = targets.map(|file| file.unwrap().file_name()).collect();
        targets.sort();
        assert_eq!(targets, ["file.rs", "payload.rs"]);
    }

    /// The fuzzer begins with states that are accepted.
    #[test]
    fn the_corpus_has_a_state_of_this_version() {
        let bytes = state::encode(&example(7, 1)).unwrap();
        let payload = &bytes[64..];
        assert_eq!(state_file(payload), bytes);
        for (name, bytes) in [("file", &bytes[..]), ("payload", payload)] {
            let path = folder("corpus").join(name).join("valid");
            if std::env::var_os("WRITE_CORPUS").is_some() {
                fs::write(&path, bytes).unwrap();
            }
            assert!(fs::read(&path).unwrap() == bytes, "{}", path.display());
        }
    }
}
