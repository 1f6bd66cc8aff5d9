//! What a conversion has to say.

use super::Method;
use crate::format::{Fidelity, LayerFidelity, PackedNode, PackedOp};
use std::fmt;

/// Logits below this ratio of signal to noise, in dB, predict little: the noise has half the signal's variance.
const USABLE_DECIBELS: f64 = 3.0;

/// What the user of [`convert`](crate::convert) should know about the result.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The covariance of a layer's inputs had no inverse until its damping was raised: there are too few images
    /// for so many inputs, or inputs that do not vary.
    Damped {
        /// Name of the layer.
        layer: String,
        /// How many times the usual damping was needed.
        factor: f64,
    },
    /// The logits are mostly noise: the model will predict little.
    Noisy {
        /// Signal over noise of the logits in dB.
        logits: f64,
        /// The ternary layer that adds most noise.
        layer: Option<String>,
        /// How the layers were fitted.
        method: Method,
    },
}

impl Note {
    /// Whether the result is probably not what was intended.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Noisy { .. })
    }

    /// A warning, if the logits are too far from full precision's.
    pub(super) fn on_logits(fidelity: &Fidelity, nodes: &[PackedNode], method: Method) -> Option<Self> {
        let logits = fidelity.logits.filter(|&logits| logits < USABLE_DECIBELS)?;
        let ternary = |layer: &&LayerFidelity| match &nodes[layer.node].op {
            PackedOp::Conv(conv) => conv.weights.precision.is_ternary(),
            _ => false,
        };
        let layers = fidelity.layers.iter().filter(ternary);
        let worst = layers.max_by(|a, b| a.noise().total_cmp(&b.noise()));
        Some(Self::Noisy { logits, layer: worst.map(|layer| nodes[layer.node].name.clone()), method })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damped { layer, factor } => write!(
                f,
                "{layer}: the covariance of its inputs has no inverse; its damping was raised {factor:.0} times \
                 (more images may help)"
            ),
            Self::Noisy { logits, layer, method } => {
                write!(
                    f,
                    "the logits' signal-to-noise ratio is {logits:.1} dB, so predictions will be poor; use "
                )?;
                if *method == Method::ClosedForm {
                    f.write_str("`method = compensated`, ")?;
                }
                f.write_str("a smaller `group`, more images")?;
                match layer {
                    Some(layer) => {
                        write!(
                            f,
                            ", or `overrides = '{layer}=int8'` for the layer that adds most of the noise"
                        )
                    }
                    None => Ok(()),
                }
            }
        }
    }
}
