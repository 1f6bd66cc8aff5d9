//! What is attacked: every reader of files from outside, kernels, settings. One function of bytes each, which fails where
//! fgq breaks a promise and otherwise says whether the bytes were accepted.
//!
//! The fuzzer calls them with bytes that it makes up (`fuzz_targets/`), and `tests/hostile.rs` with the corpus.

mod edits;
mod files;
mod images;
mod models;
mod networks;
mod plans;

/// What is attacked, by bytes.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name, which is also that of the binary and of the folder in `corpus/`.
pub const TARGETS: [(&str, Target); 14] = [
    ("array", images::array),
    ("archive", images::archive),
    ("image", images::image),
    ("indicators", plans::indicators),
    ("kernels", models::kernels),
    ("labels", images::labels),
    ("onnx", networks::onnx),
    ("onnx_external", networks::onnx_external),
    ("packed_model", models::packed_model),
    ("plan", plans::plan),
    ("preprocess", images::preprocess_file),
    ("safetensors", networks::safetensors),
    ("switching", models::switching),
    ("torch", networks::torch),
];

/// The target of this name. Chosen by the compiler, so that a binary holds no others: after every input the fuzzer looks at
/// all places that can be reached.
///
/// # Panics
/// There is none.
pub const fn target(name: &str) -> Target {
    let mut index = 0;
    while index < TARGETS.len() {
        if is_same(TARGETS[index].0.as_bytes(), name.as_bytes()) {
            return TARGETS[index].1;
        }
        index += 1;
    }
    panic!("no target has this name")
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}
