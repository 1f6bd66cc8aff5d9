//! How closely a converted network follows full precision: figures that a conversion measures and the file keeps.

use super::{PackedNode, PackedOp};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Signal-to-noise ratios are limited to plus and minus this, in dB.
pub(crate) const MAX_DECIBELS: f64 = 120.0;

/// How closely a converted network follows full precision on some of its calibration images.
///
/// Ratios of signal to noise are in dB: ten times the decimal logarithm of the variance of the full-precision
/// values around the mean of their channel, over the mean squared distance from them. At 0 dB a constant
/// would do as well. Where full precision does not vary there is no ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fidelity {
    /// Images that were looked at.
    pub images: usize,
    /// Signal-to-noise ratio of the logits in dB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<f64>,
    /// The convolutions and fully connected layers, in execution order.
    pub layers: Vec<LayerFidelity>,
}

/// How closely one layer follows full precision; see [`Fidelity`] for the ratios.
///
/// Outputs are those of the layer's node: with the residual and the activation that it absorbed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerFidelity {
    /// Index of the layer's node.
    pub node: usize,
    /// Trained weights, times the gain of a folded batch normalization, over their distance from the converted
    /// ones; both as sums of squares. Compensation moves weights on purpose, which lowers this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Outputs with the converted weights and biases on the inputs (and residual) of full precision, without
    /// any rounding of activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<f64>,
    /// Outputs with the trained weights on full precision's inputs rounded to the codes of the layer's input;
    /// none for layers that read pixels, which are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<f64>,
    /// Outputs of the integer runtime: everything up to and including this layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cumulative: Option<f64>,
    /// Share, 0 to 1, of the integer outputs at the smallest or largest code, unless the activation ends there.
    pub saturation: f64,
}

impl Fidelity {
    /// Whether the figures can be: finite, in range, and of convolutions in order.
    pub(super) fn check(&self, nodes: &[PackedNode]) -> Result<()> {
        let ordered = self.layers.is_sorted_by(|a, b| a.node < b.node);
        ensure(self.images > 0 && ordered && is_ratio(self.logits), "out of range or out of order")?;
        self.layers.iter().try_for_each(|layer| {
            let node = nodes.get(layer.node).filter(|node| matches!(node.op, PackedOp::Conv(_)));
            let node = node.ok_or_else(|| invalid("of a node that is no convolution"))?;
            ensure(layer.is_valid(), "out of range").map_err(|error| error.at_node(&node.name))
        })
    }
}

impl LayerFidelity {
    /// Noise that the converted weights add to the outputs, relative to the outputs' variance.
    pub fn weight_noise(&self) -> f64 {
        relative(self.local)
    }

    /// Noise that rounding the inputs adds to the outputs, relative to the outputs' variance.
    pub fn rounding_noise(&self) -> f64 {
        relative(self.rounding)
    }

    /// Both.
    pub fn noise(&self) -> f64 {
        self.weight_noise() + self.rounding_noise()
    }

    fn is_valid(&self) -> bool {
        let ratios = [self.weight, self.local, self.rounding, self.cumulative];
        ratios.into_iter().all(is_ratio) && (0.0..=1.0).contains(&self.saturation)
    }
}

/// Noise over signal; nothing where there is no ratio.
fn relative(decibels: Option<f64>) -> f64 {
    decibels.map_or(0.0, |decibels| 10f64.powf(-decibels / 10.0))
}

fn is_ratio(ratio: Option<f64>) -> bool {
    ratio.is_none_or(|ratio| (-MAX_DECIBELS..=MAX_DECIBELS).contains(&ratio))
}

fn ensure(condition: bool, message: &str) -> Result<()> {
    if condition { Ok(()) } else { Err(invalid(message)) }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::Format, format!("figures of fidelity {message}"))
}
