//! Which reader a file is for: its first bytes tell, else its ending.

use super::foreign;
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::head;
use std::path::Path;

/// How many bytes at the start of a file tell what it is.
const HEAD: u64 = 512;
/// What files of `torch.save` start with: a ZIP archive or a pickle.
const TORCH: [&[u8]; 2] = [b"PK\x03\x04", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46"];
/// Endings of files of `torch.save`.
const TORCH_ENDINGS: [&str; 7] = ["pth", "pt", "th", "ckpt", "bin", "tar", "pkl"];

/// The readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelFormat {
    Onnx,
    Safetensors,
    Torch,
}

impl ModelFormat {
    /// The format of the file at `path`.
    ///
    /// # Errors
    /// A file that is not there; one of another program, naming the command that exports it; one that is none of a model.
    pub(super) fn of(path: &Path) -> Result<Self> {
        path.metadata().map_err(|error| Error::io(path, error))?;
        let head = head(path, HEAD);
        if let Some(refusal) = foreign::refusal(path, &head) {
            return Err(refusal.at_path(path));
        }
        let is_torch = TORCH.iter().any(|start| head.starts_with(start));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("onnx") => Ok(Self::Onnx),
            Some("safetensors" | "json") => Ok(Self::Safetensors),
            Some("bin") if !is_torch => Err(foreign::other_weights().at_path(path)),
            Some(ending) if is_torch || TORCH_ENDINGS.contains(&ending) => Ok(Self::Torch),
            _ => Err(unknown().at_path(path)),
        }
    }
}

fn unknown() -> Error {
    let message =
        "not a model file that fgq reads: expected .onnx, .safetensors, .safetensors.index.json or .pth";
    Error::new(ErrorKind::Argument, message)
}
