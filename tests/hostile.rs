//! What fuzzing attacks (`fuzz/`), without a fuzzer: its corpus as it is, damaged, and random bytes. Errors are fine, panics
//! are not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::Path;
use targets::{TARGETS, Target, target};

/// The corpus of a target, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<(String, Vec<u8>)> =
        files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    inputs.sort();
    inputs
}

/// Says which input it is, in case that it ends the process.
fn is_accepted(attack: Target, (name, bytes): &(String, Vec<u8>)) -> bool {
    println!("{name}");
    attack(bytes)
}

#[test]
fn every_target_withstands_its_corpus_and_accepts_some_of_it() {
    for (name, attack) in TARGETS {
        let inputs = corpus(name);
        let accepted = inputs.iter().filter(|input| is_accepted(attack, input)).count();
        println!("{name}: {accepted} of {} accepted", inputs.len());
        assert!(accepted > 0, "{name} accepts nothing");
    }
}

#[test]
fn every_target_has_a_binary() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/target.rs\"")),
            "{name}"
        );
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

/// Some bytes that change, and perhaps an early end.
#[derive(Debug, Clone)]
struct Damage {
    bytes: Vec<(Index, u8)>,
    end: Option<Index>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    (bytes, prop::option::weighted(0.2, any::<Index>())).prop_map(|(bytes, end)| Damage { bytes, end })
}

impl Damage {
    fn of(&self, file: &[u8]) -> Vec<u8> {
        let mut file = file.to_vec();
        if file.is_empty() {
            return file;
        }
        for (place, value) in &self.bytes {
            let place = place.index(file.len());
            file[place] = *value;
        }
        file.truncate(self.end.map_or(file.len(), |end| end.index(file.len())));
        file
    }
}

proptest! {
    #[test]
    fn damaged_files(damage in damage(), which in any::<Index>()) {
        for (name, attack) in TARGETS {
            let inputs = corpus(name);
            attack(&damage.of(&inputs[which.index(inputs.len())].1));
        }
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, attack) in TARGETS {
            attack(&bytes);
        }
        let signatures: [&[u8]; 9] = [
            b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"GIF89a", &[0x08, 0x07, 0x3a],
            b"PK\x03\x04", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", b"\x93NUMPY\x01\x00",
        ];
        for signature in signatures {
            let bytes = [signature, &bytes].concat();
            for name in ["image", "torch", "onnx", "archive", "array"] {
                target(name)(&bytes);
            }
        }
    }
}
