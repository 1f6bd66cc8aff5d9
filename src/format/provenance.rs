//! Where a packed model comes from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
}
