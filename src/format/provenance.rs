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
