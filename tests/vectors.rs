//! Logits of an independent implementation of the runtime (`tests/python/reference_runtime.py`), bit for bit.
#![allow(clippy::unwrap_used)]

use fgq::{Kernels, PackedModel, Session, read_model};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtime").join(name)
}

/// A model and the bytes of its vectors.
fn vectors(name: &str) -> (PackedModel, Vec<u8>) {
    let model = read_model(&file(&format!("{name}.fgq"))).unwrap();
    (model, std::fs::read(file(&format!("{name}.expected.safetensors"))).unwrap())
}

fn words(stored: &SafeTensors, name: &str) -> Vec<i32> {
    let (words, _) = stored.tensor(name).unwrap().data().as_chunks::<4>();
    words.iter().map(|&word| i32::from_le_bytes(word)).collect()
}

#[test]
fn logits_equal_those_of_the_numpy_runtime() {
    for name in
        ["every_operator", "global_sum", "codes", "int4", "precisions", "normalization", "planes", "bits"]
    {
        let (model, bytes) = vectors(name);
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        for kernels in Kernels::available() {
            let session = Session::with_kernels(&model, kernels).unwrap();
            let logits = session.run(stored.tensor("pixels").unwrap().data()).unwrap();
            assert_eq!(logits.data, words(&stored, "logits"), "{name} {kernels:?}");
        }
    }
}

#[test]
fn logits_at_any_widths_equal_those_of_the_numpy_runtime() {
    for name in ["planes", "bits"] {
        let (model, bytes) = vectors(name);
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let (pixels, widths) = (stored.tensor("pixels").unwrap(), stored.tensor("widths").unwrap());
        let wanted = words(&stored, "switched");
        let assignments = widths.data().chunks_exact(widths.shape()[1]);
        let wanted: Vec<(&[u8], &[i32])> =
            assignments.zip(wanted.chunks_exact(wanted.len() / widths.shape()[0])).collect();
        for kernels in Kernels::available() {
            let mut session = Session::with_kernels(&model, kernels).unwrap();
            for (widths, wanted) in &wanted {
                session.set_widths(widths).unwrap();
                let switched = session.run(pixels.data()).unwrap();
                assert_eq!(switched.data, *wanted, "{name} {kernels:?} {widths:?}");
                let plain = Session::with_kernels(&model.at(widths).unwrap(), kernels).unwrap();
                assert_eq!(plain.run(pixels.data()).unwrap(), switched, "{name} {kernels:?} {widths:?}");
            }
        }
    }
}
