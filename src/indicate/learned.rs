//! Indicators that are learned: the steps of quantizers that are trained together.

use super::plannable::Plannable;
use super::{Indicator, IndicatorOptions};
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
    let found = learn_importance(full, pixels, &nodes, bits, &options.course, progress)?;
    let figures = |layer: &Plannable| {
        let found = found.iter().find(|found| found.node == layer.node)?;
        let figures = if options.indicator == Indicator::Learned { &found.steps } else { &found.damage };
        Some(layer.with(&figures.concat()))
    };
    Ok(layers.iter().filter_map(figures).collect())
}
