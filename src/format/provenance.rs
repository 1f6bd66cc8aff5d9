//! Where a packed model comes from.

use super::write::hex;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Where a packed model comes from: enough to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub generator: String,
    /// File name of the full-precision model, without folders.
    pub source: String,
    /// SHA-256 of that file, in hexadecimal.
    pub source_sha256: String,
    /// Options of the conversion.
    pub options: BTreeMap<String, String>,
    /// The plan that chose the layers' precisions, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRecord>,
}

/// What a model remembers of the plan that it was converted with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    /// The budgets and what the plan uses of them, by name, as text.
    pub budgets: BTreeMap<String, String>,
    /// Predicted damage.
    pub objective: String,
    /// What was planned for every convolution of the model, in execution order, separated by spaces: `-` for nothing,
    /// else precision (`t` for ternary, `i` for int) and, if the input activations have not 8 bits, `/` and their bits.
    pub layers: String,
}

impl Provenance {
    /// Records the name and the SHA-256 of the full-precision model in `path`.
    ///
    /// # Errors
    /// `Io`, if the file cannot be read.
    pub fn set_source(&mut self, path: &Path) -> Result<()> {
        self.source_sha256 = sha256(path).map_err(|error| Error::io(path, error))?;
        self.source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(())
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(&chunk[..length]),
        }
    }
}
