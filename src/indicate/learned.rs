//! Indicators that are learned: the steps of quantizers that are trained together.

use super::plannable::Plannable;
use super::{Indicator, IndicatorOptions};
use crate::calibrate::Spool;
use crate::error::Result;
use crate::graph::NodeId;
use crate::plan::LayerIndicators;
use crate::precision::Precision;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::train::{CandidateBits, learn_importance};
use std::collections::BTreeSet;

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
        weights: descending(options.precisions.iter().map(bits_of)),
        activations: descending(options.activation_bits.iter().copied()),
    };
    let found = learn_importance(full, pixels, &nodes, bits.clone(), &options.course, progress)?;
    let figures = |layer: &Plannable| {
        let found = found.iter().find(|found| found.node == layer.node)?;
        let [weights, inputs] =
            if options.indicator == Indicator::Learned { &found.steps } else { &found.damage };
        let weights = layer.precisions.iter().map(|precision| at(weights, &bits.weights, bits_of(precision)));
        let inputs = layer.activation_bits.iter().map(|&own| at(inputs, &bits.activations, own));
        Some(layer.with(&weights.chain(inputs).collect::<Option<Vec<f64>>>()?))
    };
    Ok(layers.iter().filter_map(figures).collect())
}

fn bits_of(precision: &Precision) -> u8 {
    precision.levels().bits() as u8
}

/// Every number of bits once, the most first.
fn descending(bits: impl Iterator<Item = u8>) -> Vec<u8> {
    bits.collect::<BTreeSet<u8>>().into_iter().rev().collect()
}

/// The figure of the candidate with so many bits.
fn at(figures: &[f64], candidates: &[u8], bits: u8) -> Option<f64> {
    candidates.iter().position(|&candidate| candidate == bits).and_then(|place| figures.get(place).copied())
}
