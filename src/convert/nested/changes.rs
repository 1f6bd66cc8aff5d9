//! Gains and biases of one pair of widths as changes of those at full width.

use super::Uniform;
use crate::format::{AffineChange, PackedConv, PackedNode, PackedOp, Store};
use crate::prepare::Full;
use crate::quantize::{OperatorId, QuantizedOp};

/// Steps of a gain's change in one.
const GAIN_STEPS: f64 = 256.0;

/// The binary logarithm of a step of biases, and a change for every output channel, which make a layer of `top` that of
/// `wanted`, whose weights count in the same units.
pub(super) fn changes(
    full: &Full,
    top: &Uniform,
    wanted: &Uniform,
    id: OperatorId,
) -> (u8, Vec<AffineChange>) {
    let conv = |uniform: &Uniform| match &uniform.nodes[id.index()] {
        PackedNode { op: PackedOp::Conv(conv), .. } => {
            Some((gains(conv, uniform.logit_scale), conv.bias.clone()))
        }
        _ => None,
    };
    let Some(((gains, biases), (wanted_gains, wanted_biases))) = conv(top).zip(conv(wanted)) else {
        return (0, Vec::new());
    };
    let means = means(full, wanted, id);
    let change = |channel: usize| {
        let ratio = wanted_gains[channel] / gains[channel];
        let gain = if ratio.is_finite() { ((ratio - 1.0) * GAIN_STEPS).round() } else { 0.0 };
        let gain = gain.clamp(f64::from(i8::MIN), f64::from(i8::MAX));
        // The mean of the outputs is that of the gain that was wanted.
        let made = 1.0 + gain / GAIN_STEPS;
        let made_up = if ratio.is_finite() { means[channel] * (ratio / made - 1.0) } else { 0.0 };
        let bias = f64::from(wanted_biases[channel]) + made_up - f64::from(biases[channel]);
        (gain as i8, bias)
    };
    let exact: Vec<(i8, f64)> = (0..gains.len()).map(change).collect();
    let most = exact.iter().map(|(_, bias)| bias.abs()).fold(0.0, f64::max);
    let shift = (0..23).find(|&shift| most <= f64::from(i8::MAX) * 2f64.powi(shift)).unwrap_or(23);
    let step = 2f64.powi(shift);
    let rounded = |(gain, bias): (i8, f64)| AffineChange { gain, bias: (bias / step).round() as i8 };
    (shift as u8, exact.into_iter().map(rounded).collect())
}

/// Real factors of sums, in a unit that all widths have in common.
fn gains(conv: &PackedConv, logit_scale: f64) -> Vec<f64> {
    match &conv.store {
        Store::Codes { multipliers, .. } => {
            multipliers.iter().map(|by| f64::from(by.value) * 2f64.powi(-i32::from(by.shift))).collect()
        }
        Store::Logits { factors, .. } => {
            factors.iter().map(|&factor| f64::from(factor) * logit_scale).collect()
        }
    }
}

/// The means that full precision's outputs have, in units of the layer's sums; 0 where they are not known.
fn means(full: &Full, wanted: &Uniform, id: OperatorId) -> Vec<f64> {
    let node = &wanted.quantized.nodes[id];
    let QuantizedOp::Conv(conv) = &node.op else { return Vec::new() };
    let input = wanted.quantized.nodes[node.inputs[0]].quantizer.scale;
    let statistics = full.observation.channels[conv.source].as_ref();
    let mean = |channel: usize| {
        let unit = conv.gain[channel] * conv.factors[channel] * input;
        let mean = statistics.map_or(0.0, |statistics| statistics.mean(channel) / unit);
        if mean.is_finite() { mean } else { 0.0 }
    };
    (0..conv.outputs).map(mean).collect()
}
