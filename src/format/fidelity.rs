//! How closely a converted network follows full precision: figures that a conversion measures and the file keeps.

use super::record::{FidelityRecord, JudgementRecord};
use super::{PackedId, PackedNode, PackedOp};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Per;
use crate::judge::Judgement;

/// Signal-to-noise ratios are limited to plus and minus this, in dB.
pub(crate) const MAX_DECIBELS: f64 = 120.0;
/// Figures of one layer in the file.
pub(super) const FIGURES: usize = 5;
/// What stands for a missing ratio.
const NONE: i16 = i16::MIN;
/// Units of the figures in the file.
const PER_DECIBEL: f64 = 100.0;
const PER_SHARE: f64 = 10_000.0;

/// How closely a converted network follows full precision on those of its calibration images that judge.
///
/// Ratios of signal to noise are in dB: ten times the decimal logarithm of the variance of the full-precision
/// values around the mean of their channel, over the mean squared distance from them. At 0 dB a constant
/// would do as well. Where full precision does not vary there is no ratio. The file keeps ratios to 0.01 dB, shares to
/// 0.0001.
#[derive(Debug, Clone, PartialEq)]
pub struct Fidelity {
    /// Images that were looked at.
    pub images: usize,
    /// Whether nothing was fitted to them.
    pub held_back: bool,
    /// Signal-to-noise ratio of the logits in dB.
    pub logits: Option<f64>,
    /// Whether the logits say the same; not known of models made before it was measured.
    pub judgement: Option<Judgement>,
    /// The convolutions and fully connected layers, in execution order.
    pub layers: Vec<LayerFidelity>,
}

/// How closely one layer follows full precision; see [`Fidelity`] for the ratios.
///
/// Outputs are those of the layer's node: with the residual and the activation that it absorbed.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerFidelity {
    /// The layer's node.
    pub node: PackedId,
    /// Trained weights, times the gain of a folded batch normalization, over their distance from the converted
    /// ones; both as sums of squares. Compensation moves weights on purpose, which lowers this.
    pub weight: Option<f64>,
    /// Outputs with the converted weights and biases on the inputs (and residual) of full precision, without
    /// any rounding of activations.
    pub local: Option<f64>,
    /// Outputs with the trained weights on full precision's inputs rounded to the codes of the layer's input;
    /// none for layers that read pixels, which are exact.
    pub rounding: Option<f64>,
    /// Outputs of the integer runtime: everything up to and including this layer.
    pub cumulative: Option<f64>,
    /// Share, 0 to 1, of the integer outputs at the smallest or largest code, unless the activation ends there.
    pub saturation: f64,
}

impl Fidelity {
    /// The figures of the layers as the file holds them: [`FIGURES`] little-endian `i16` for each.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.layers.iter().flat_map(LayerFidelity::to_stored).flat_map(i16::to_le_bytes).collect()
    }

    /// All but the figures of the layers.
    pub(super) fn record(&self) -> FidelityRecord {
        let Self { images, held_back, logits, .. } = *self;
        let judgement = self.judgement.map(JudgementRecord::from);
        FidelityRecord { images, held_back, logits, judgement }
    }

    /// Takes in the figures of the convolutions of `nodes`, of which there must be as many.
    pub(super) fn new(record: &FidelityRecord, nodes: &Per<PackedId, PackedNode>, bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<2>();
        let stored: Vec<i16> = words.iter().map(|&word| i16::from_le_bytes(word)).collect();
        let (rows, _) = stored.as_chunks::<FIGURES>();
        let layers = convolutions(nodes).zip(rows).map(|(node, &row)| LayerFidelity::from_stored(node, row));
        let FidelityRecord { images, held_back, logits, .. } = *record;
        let judgement = record.judgement.as_ref().map(|judgement| judgement.of(images));
        Self { images, held_back, logits, judgement, layers: layers.collect() }
    }

    /// Whether the figures can be: finite, in range, and one set for each convolution.
    pub(super) fn check(&self, nodes: &Per<PackedId, PackedNode>) -> Result<()> {
        let complete = self.layers.iter().map(|layer| layer.node).eq(convolutions(nodes));
        ensure(complete, "are not of every convolution in order")?;
        ensure(self.images > 0 && is_ratio(self.logits), "are out of range")?;
        ensure(self.judgement.is_none_or(|judgement| self.is_possible(&judgement)), "are out of range")?;
        let wrong = self.layers.iter().find(|layer| !layer.is_valid());
        wrong.map_or(Ok(()), |layer| Err(invalid("are out of range").at_node(&nodes[layer.node].name)))
    }
}

impl Fidelity {
    fn is_possible(&self, judgement: &Judgement) -> bool {
        judgement.images == self.images && is_possible(judgement)
    }
}

impl From<Judgement> for JudgementRecord {
    fn from(judgement: Judgement) -> Self {
        let Judgement { agreeing, divergence, divergence_error, .. } = judgement;
        Self { agreeing, divergence, divergence_error }
    }
}

impl JudgementRecord {
    /// The judgement of so many images.
    pub(super) fn of(&self, images: usize) -> Judgement {
        let Self { agreeing, divergence, divergence_error } = *self;
        Judgement { images, agreeing, divergence, divergence_error }
    }
}

/// Whether some images can have said so.
pub(super) fn is_possible(judgement: &Judgement) -> bool {
    let nats = |nats: f64| nats.is_finite() && nats >= 0.0;
    judgement.images > 0
        && judgement.agreeing <= judgement.images
        && nats(judgement.divergence)
        && judgement.divergence_error.is_none_or(nats)
}

/// The convolutions.
pub(super) fn convolutions(nodes: &Per<PackedId, PackedNode>) -> impl Iterator<Item = PackedId> {
    nodes.enumerate().filter(|(_, node)| matches!(node.op, PackedOp::Conv(_))).map(|(id, _)| id)
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

    fn to_stored(&self) -> [i16; FIGURES] {
        let ratio = |ratio: Option<f64>| ratio.map_or(NONE, |ratio| (ratio * PER_DECIBEL).round() as i16);
        let saturation = (self.saturation * PER_SHARE).round() as i16;
        [ratio(self.weight), ratio(self.local), ratio(self.rounding), ratio(self.cumulative), saturation]
    }

    fn from_stored(
        node: PackedId,
        [weight, local, rounding, cumulative, saturation]: [i16; FIGURES],
    ) -> Self {
        let ratio = |stored: i16| (stored != NONE).then(|| f64::from(stored) / PER_DECIBEL);
        Self {
            node,
            weight: ratio(weight),
            local: ratio(local),
            rounding: ratio(rounding),
            cumulative: ratio(cumulative),
            saturation: f64::from(saturation) / PER_SHARE,
        }
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
