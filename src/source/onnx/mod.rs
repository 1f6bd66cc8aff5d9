//! ONNX files: decoding, rank-aware lowering of every node, and the resulting [`Graph`](crate::graph::Graph).
//!
//! A file passes through four stages, each with its own type:
//! bytes → [`ModelProto`] → [`model::Model`] (one input, one output, live nodes in order) →
//! [`lower::lower`], which turns each node into constants and [`view::Activation`]s → `Graph`.
//! An operator is one row of a table in [`operators`].

mod attributes;
mod context;
mod decode;
mod external;
mod lower;
mod model;
mod names;
mod operators;
mod tensor;
mod tensor_math;
mod tensor_reduce;
#[cfg(test)]
mod tests;
mod view;

use super::{LoadOptions, Loaded};
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::{open_regular, read_opened};
use crate::proto::ModelProto;
use prost::Message;
use std::path::Path;

/// Protocol buffers, and so ONNX files without external data, end at 2 GiB.
const MAX_FILE_BYTES: u64 = 1 << 31;

/// Reads the network of an ONNX file (opset 9 to [`model::MAX_OPSET`]).
///
/// # Errors
/// All unsupported nodes at once (kind `Unsupported`), malformed bytes, shapes that do not fit, weights that
/// are not finite; each names the file.
pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    read(path).map_err(|error| error.at_path(path)).and_then(|bytes| load_bytes(bytes, path, options))
}

/// As [`load`], from the bytes of the file that `path` names.
pub(crate) fn load_bytes(bytes: Vec<u8>, path: &Path, options: &LoadOptions) -> Result<Loaded> {
    parse(bytes, path, options).map_err(|error| error.at_path(path))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let file = open_regular(path)?;
    if file.metadata().map_err(|error| Error::io(path, error))?.len() > MAX_FILE_BYTES {
        return Err(malformed(
            "larger than 2 GiB, which no ONNX file is; large weights belong in external data",
        ));
    }
    read_opened(file, path, MAX_FILE_BYTES)
}

fn parse(bytes: Vec<u8>, path: &Path, options: &LoadOptions) -> Result<Loaded> {
    let proto = ModelProto::decode(bytes.as_slice()).map_err(|error| {
        malformed("not an ONNX file, or damaged; export or download it again").because(error)
    })?;
    let stored = bytes.len() as u64;
    drop(bytes);
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_stem().map_or("network".into(), |stem| stem.to_string_lossy().into_owned());
    lower::lower(model::OnnxModel::new(proto, options)?, stored, folder, name)
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

fn misshapen(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, message)
}
