//! Where full-precision networks come from: model files that become a [`Graph`].

mod onnx;
mod safetensors;

use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use std::path::Path;

/// What a model file leaves open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width of the input, for files that do not fix them.
    pub input_size: Option<[usize; 2]>,
    /// Name of the output that holds the logits, for files with several outputs.
    pub output: Option<String>,
    /// Name of the architecture whose weights a safetensors file holds, as torchvision or timm call it.
    pub architecture: Option<String>,
}

/// A network as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The network.
    pub graph: Graph,
    /// What a user should know about how the file was read, one sentence each.
    pub notes: Vec<String>,
}

/// Reads the network in `path`; the extension tells the format.
///
/// # Errors
/// Unreadable or malformed files, anything in them that fgq does not implement, and options that do not fit.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => onnx::load(path, options),
        Some("safetensors" | "json") => {
            safetensors::load(path, options).map(|graph| Loaded { graph, notes: Vec::new() })
        }
        _ => Err(Error::new(
            ErrorKind::Argument,
            "not a model file that fgq reads: expected .onnx, .safetensors or .safetensors.index.json",
        )
        .at_path(path)),
    }
}

/// Reads a network from the bytes of an ONNX file; `name` names it and stands for its path in errors.
///
/// # Errors
/// As [`load`].
pub fn load_onnx(bytes: Vec<u8>, name: &str, options: &LoadOptions) -> Result<Loaded> {
    onnx::load_bytes(bytes, Path::new(name), options)
}

/// Names of the architectures whose weights [`load`] reads from safetensors files.
pub fn architectures() -> Vec<&'static str> {
    safetensors::architectures()
}
