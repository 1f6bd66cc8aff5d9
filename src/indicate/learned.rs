//! Indicators that are learned: the steps of quantizers that are trained together.

use super::IndicatorOptions;
use super::plannable::Plannable;
use crate::calibrate::Spool;
use crate::error::Result;
use crate::graph::NodeId;
use crate::plan::LayerIndicators;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::train::{CandidateBits, learn_importance};

/// The figures of all layers.
pub(super) fn learned(
    full: &Full,
    pixels: &Spool,
    layers: &[Plannable],
    options: &IndicatorOptions,
    progress: &dyn Progress,
) -> Result<Vec<LayerIndicators>> {
    let nodes: Vec<NodeId> = layers.iter().map(|layer| layer.node).collect();
    let bits = CandidateBits {
        weights: options.precisions.iter().map(|precision| precision.levels().bits() as u8).collect(),
        activations: options.activation_bits.clone(),
    };
    let steps = learn_importance(full, pixels, &nodes, bits, &options.course, progress)?;
    let figures = |layer: &Plannable| {
        let steps = steps.iter().find(|steps| steps.node == layer.node)?;
        let figures = steps.weights.iter().chain(&steps.activations).copied().map(f64::from);
        Some(layer.with(&figures.collect::<Vec<_>>()))
    };
    Ok(layers.iter().filter_map(figures).collect())
}
