//! Where full-precision networks come from: model files that become a [`Graph`].

mod checkpoint;
mod foreign;
mod formats;
mod onnx;

use crate::error::Result;
use crate::graph::Graph;
use formats::ModelFormat;
use std::path::Path;

/// What a model file leaves open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width of the input, for files that do not fix them.
    pub input_size: Option<[usize; 2]>,
    /// Name of the output that holds the logits, for files with several outputs.
    pub output: Option<String>,
    /// Name of the architecture whose weights a safetensors file or a file of `torch.save` holds, as torchvision or timm call it.
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

/// Reads the network in `path`: an ONNX file, or the weights of a known architecture in safetensors files or in a file of
/// `torch.save`.
///
/// # Errors
/// Unreadable or malformed files, anything in them that fgq does not implement, and options that do not fit. Files of other
/// programs are recognised; the error says how to export them.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    match ModelFormat::of(path)? {
        ModelFormat::Onnx => onnx::load(path, options),
        ModelFormat::Safetensors => checkpoint::load_safetensors(path, options),
        ModelFormat::Torch => checkpoint::load_torch(path, options),
    }
}

/// Reads a network from the bytes of an ONNX file; `name` names it and stands for its path in errors.
///
/// # Errors
/// As [`load`].
pub fn load_onnx(bytes: Vec<u8>, name: &str, options: &LoadOptions) -> Result<Loaded> {
    onnx::load_bytes(bytes, Path::new(name), options)
}

/// Names of the architectures whose weights [`load`] reads from safetensors files and files of `torch.save`.
pub fn architectures() -> Vec<&'static str> {
    checkpoint::architectures()
}
