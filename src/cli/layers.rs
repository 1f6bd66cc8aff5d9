//! Layers as `convert` and `inspect` show them.

use fgq::{Layer, LayerFidelity, Loss, Reason};
use serde::Serialize;

/// A layer in JSON.
#[derive(Serialize)]
pub struct LayerJson<'a> {
    name: &'a str,
    kind: String,
    precision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Bits of the codes that it reads.
    input_bits: u8,
    shape: [usize; 4],
    weights: usize,
    bytes: usize,
    /// Share of weights that are zero, in percent.
    zeros: f64,
    #[serde(flatten)]
    fidelity: Option<FidelityJson>,
    /// How long its conversion took.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// Ratios of signal to noise in dB; `null` where there is no signal.
#[derive(Serialize)]
struct FidelityJson {
    weight_sqnr: Option<f64>,
    local_sqnr: Option<f64>,
    rounding_sqnr: Option<f64>,
    cumulative_sqnr: Option<f64>,
    /// In percent.
    saturation: f64,
}

impl From<&LayerFidelity> for FidelityJson {
    fn from(figures: &LayerFidelity) -> Self {
        Self {
            weight_sqnr: figures.weight,
            local_sqnr: figures.local,
            rounding_sqnr: figures.rounding,
            cumulative_sqnr: figures.cumulative,
            saturation: 100.0 * figures.saturation,
        }
    }
}

impl<'a> LayerJson<'a> {
    /// `layer` and, where it is known, why it has its precision.
    pub fn new(layer: &'a Layer, reason: Option<Reason>) -> Self {
        Self {
            name: &layer.name,
            kind: layer.kind.to_string(),
            precision: layer.precision.to_string(),
            reason: reason.map(why),
            input_bits: layer.input_bits,
            shape: layer.shape,
            weights: layer.weights,
            bytes: layer.bytes.total(),
            zeros: percent(layer.zeros, layer.weights),
            fidelity: layer.fidelity.as_ref().map(FidelityJson::from),
            seconds: None,
        }
    }

    /// The same with the time that its conversion took.
    #[must_use]
    pub fn with_seconds(self, seconds: Option<f64>) -> Self {
        Self { seconds, ..self }
    }
}

/// What most of the loss comes from, in JSON.
#[derive(Serialize)]
pub struct LossJson {
    /// `layer`, `weights` or `activations`.
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    /// In percent of the noise that layers add.
    share: f64,
}

impl From<Loss> for LossJson {
    fn from(loss: Loss) -> Self {
        let (from, layer, share) = match loss {
            Loss::Layer { name, share, .. } => ("layer", Some(name), share),
            Loss::Weights(share) => ("weights", None, share),
            Loss::Activations(share) => ("activations", None, share),
        };
        Self { from, layer, share: 100.0 * share }
    }
}

/// Why a layer has its precision, in a few words.
pub fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Default => "default",
        Reason::First => "first convolution",
        Reason::Classifier => "classifier",
        Reason::Depthwise => "too few input channels to share a scale",
        Reason::Narrow => "few inputs, few weights",
        Reason::Plan => "plan",
        Reason::Pattern => "--set",
        Reason::Learned => "learned",
    }
}

/// A part of a whole in percent.
pub fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
