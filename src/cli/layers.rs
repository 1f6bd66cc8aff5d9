//! Layers as `convert` and `inspect` show them.

use fgq::{Layer, Reason};
use serde::Serialize;

/// A layer in JSON.
#[derive(Serialize)]
pub struct LayerJson<'a> {
    name: &'a str,
    kind: String,
    precision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    shape: [usize; 4],
    weights: usize,
    bytes: usize,
    /// Share of weights that are zero, in percent.
    zeros: f64,
}

impl<'a> LayerJson<'a> {
    /// `layer` and, where it is known, why it has its precision.
    pub fn new(layer: &'a Layer, reason: Option<Reason>) -> Self {
        Self {
            name: &layer.name,
            kind: layer.kind.to_string(),
            precision: layer.precision.to_string(),
            reason: reason.map(why),
            shape: layer.shape,
            weights: layer.weights,
            bytes: layer.bytes.total(),
            zeros: percent(layer.zeros, layer.weights),
        }
    }
}

/// Why a layer has its precision, in a few words.
pub fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Default => "default",
        Reason::First => "first convolution",
        Reason::Classifier => "classifier",
        Reason::Depthwise => "too few input channels to share a scale",
        Reason::Plan => "plan",
        Reason::Pattern => "--set",
    }
}

/// A part of a whole in percent.
pub fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
