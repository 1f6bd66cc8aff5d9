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

/// The target of this name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> Target {
    TARGETS.iter().find(|(known, _)| *known == name).expect("a name among TARGETS").1
}
