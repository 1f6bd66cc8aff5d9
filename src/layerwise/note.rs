//! What a conversion has to say.

use super::Method;
use crate::format::{Fidelity, LayerFidelity, PackedId, PackedNode, PackedOp};
use crate::index::Per;
use crate::judge::Judgement;
use std::fmt;

/// Logits below this ratio of signal to noise, in dB, predict little: the noise has half the signal's variance.
const USABLE_DECIBELS: f64 = 3.0;
/// Agreement with full precision, in percent, that is surely not reached if the whole 95% interval lies below.
const USABLE_AGREEMENT: f64 = 75.0;

/// Agreement with full precision, in percent, below which answers are lost for sure if the whole interval is.
const KEPT_AGREEMENT: f64 = 95.0;

/// What the user of [`convert`](crate::convert()) should know about the result.
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
    /// Layers that compensation makes worse on the images that judge; they have the closed form, or trained weights.
    Uncompensated {
        /// Names of the layers.
        layers: Vec<String>,
    },
    /// Of the layers that add most noise, the one whose trained weights with 8 bits give most answers back.
    Remedy {
        /// Name of the layer.
        layer: String,
        /// Points of agreement gained on the images held back.
        points: f64,
        /// How many images those are.
        images: usize,
        /// Bytes that it costs.
        bytes: usize,
    },
    /// Groups of a size that takes bits and gives nothing for them, or gives no fewer.
    Grouping {
        /// The group size.
        group: usize,
        /// The most channels that a kernel of any ternary layer reads.
        inputs: usize,
    },
    /// Answers are surely lost with the one precision that was asked for.
    Lossy {
        /// What the images held back say.
        judgement: Judgement,
    },
    /// The logits are mostly noise, or name another class than full precision's too often: the model will predict
    /// little.
    Noisy {
        /// Signal over noise of the logits in dB.
        logits: Option<f64>,
        /// What the images that judge say.
        judgement: Judgement,
        /// Whether nothing was fitted to them.
        held_back: bool,
        /// The ternary layer that adds most noise.
        layer: Option<String>,
        /// How the layers were fitted.
        method: Method,
    },
}

impl Note {
    /// Whether the result is probably not what was intended.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Noisy { .. } | Self::Lossy { .. })
    }

    /// On a uniform precision that loses answers, unless that was said already.
    pub(crate) fn on_uniform(fidelity: &Fidelity, notes: &[Self]) -> Option<Self> {
        let judgement = fidelity.judgement.filter(|_| fidelity.held_back)?;
        let is_new = notes.iter().all(|note| !note.is_warning());
        (is_new && judgement.agreement_interval()[1] < KEPT_AGREEMENT).then_some(Self::Lossy { judgement })
    }

    /// On a group size that is too small or too large to make sense for layers with so many inputs.
    pub(crate) fn on_grouping(group: usize, inputs: impl Iterator<Item = usize>) -> Option<Self> {
        let inputs = inputs.max()?;
        (group == 1 || group > inputs).then_some(Self::Grouping { group, inputs })
    }

    /// On layers that are better off without compensation.
    pub(super) fn on_fits(layers: Vec<String>) -> Option<Self> {
        (!layers.is_empty()).then_some(Self::Uncompensated { layers })
    }

    /// A warning, if the logits are too far from full precision's.
    pub(super) fn on_logits(
        fidelity: &Fidelity,
        nodes: &Per<PackedId, PackedNode>,
        method: Method,
    ) -> Option<Self> {
        let Fidelity { held_back, logits, judgement, .. } = *fidelity;
        let judgement = judgement?;
        let is_noise = logits.is_some_and(|logits| logits < USABLE_DECIBELS);
        if !is_noise && judgement.agreement_interval()[1] >= USABLE_AGREEMENT {
            return None;
        }
        let ternary = |layer: &&LayerFidelity| match &nodes[layer.node].op {
            PackedOp::Conv(conv) => conv.weights.precision.is_ternary(),
            _ => false,
        };
        let layers = fidelity.layers.iter().filter(ternary);
        let worst = layers.max_by(|a, b| a.noise().total_cmp(&b.noise()));
        let layer = worst.map(|layer| nodes[layer.node].name.clone());
        Some(Self::Noisy { logits, judgement, held_back, layer, method })
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
            Self::Uncompensated { layers } => write!(
                f,
                "held-back images like these layers better without compensation: {}",
                layers.join(", ")
            ),
            Self::Remedy { layer, points, images, bytes } => write!(
                f,
                "`overrides = '{layer}=int8'` would give back {points:.1} points of agreement on {images} held-back \
                 images for {bytes} bytes"
            ),
            Self::Grouping { group: 1, .. } => f.write_str(
                "groups of 1 have a scale for every weight; `overrides = '.*=int4'` takes fewer bits and loses less",
            ),
            Self::Grouping { group, inputs } => write!(
                f,
                "groups of {group} are larger than the {inputs} channels that any ternary layer reads, so that                  {inputs} would give the same"
            ),
            Self::Lossy { judgement: Judgement { images, agreeing, .. } } => write!(
                f,
                "answers are lost: {agreeing} of {images} held-back images get full precision's class; without `group` \
                 precisions are chosen layer by layer, and `agreement = 95` finds the smallest model that keeps 95%"
            ),
            Self::Noisy { logits, judgement, held_back, layer, method } => {
                let Judgement { images, agreeing, .. } = judgement;
                let kind = if *held_back { "held-back" } else { "fitted" };
                write!(f, "{agreeing} of {images} {kind} images get full precision's class")?;
                if let Some(logits) = logits {
                    write!(f, " and the logits' signal-to-noise ratio is {logits:.1} dB")?;
                }
                f.write_str(", so predictions will be poor; use ")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn note(logits: Option<f64>, agreeing: usize, images: usize) -> Option<Note> {
        let judgement = Judgement { images, agreeing, divergence: 0.1, divergence_error: None };
        let judgement = Some(judgement);
        let fidelity = Fidelity { images, held_back: true, logits, judgement, layers: vec![] };
        Note::on_logits(&fidelity, &Per::default(), Method::Compensated)
    }

    #[test]
    fn group_sizes_that_make_no_sense_are_noted() {
        let note = |group| Note::on_grouping(group, [16, 64, 32].into_iter()).map(|note| note.to_string());
        assert!([2, 4, 64].iter().all(|&group| note(group).is_none()));
        assert!(note(1).unwrap().contains("a scale for every weight"));
        assert!(note(65).unwrap().contains("larger than the 64 channels"));
        assert!(Note::on_grouping(1, std::iter::empty()).is_none());
    }

    #[test]
    fn noise_and_disagreement_are_warned_of_alike() {
        assert!(note(Some(2.9), 64, 64).is_some_and(|note| note.is_warning()));
        assert_eq!(note(Some(3.1), 64, 64), None);
        let text = note(None, 30, 64).unwrap().to_string();
        assert!(text.starts_with("30 of 64 held-back images get full precision's class, so"), "{text}");
    }

    /// Wilson's interval of 56 of 64 ends at 93.7%, that of 58 at 95.6%.
    #[test]
    fn lost_answers_are_told_once() {
        let fidelity = |agreeing: usize, held_back: bool| {
            let judgement = Judgement { images: 64, agreeing, divergence: 0.1, divergence_error: None };
            Fidelity { images: 64, held_back, logits: None, judgement: Some(judgement), layers: vec![] }
        };
        assert!(Note::on_uniform(&fidelity(58, true), &[]).is_none());
        assert!(Note::on_uniform(&fidelity(56, false), &[]).is_none());
        let lossy = Note::on_uniform(&fidelity(56, true), &[]).unwrap();
        assert!(lossy.is_warning() && lossy.to_string().contains("56 of 64"), "{lossy}");
        assert!(Note::on_uniform(&fidelity(30, true), &[note(None, 30, 64).unwrap()]).is_none());
    }

    /// Wilson's interval of 41 of 64 ends at 74.7%, that of 42 at 76.2%; one image proves nothing.
    #[test]
    fn chance_alone_does_not_warn() {
        assert!(note(Some(20.0), 41, 64).is_some() && note(Some(20.0), 42, 64).is_none());
        assert!(note(Some(20.0), 0, 1).is_none() && note(Some(20.0), 0, 2).is_some());
    }
}
