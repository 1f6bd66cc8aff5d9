//! Gains and biases of one pair of widths as changes of those at full width.

use super::UniformWidth;
use crate::format::{AffineChange, Multiplier, PackedConv, PackedOp, PairShifts, Store};
use crate::prepare::Full;
use crate::quantize::{OperatorId, QuantizedOp};

/// Steps of a gain's change in one.
const GAIN_STEPS: f64 = 128.0;

/// Shifts, and a change for every output channel, which make a layer of `top` that of `wanted`.
pub(super) fn changes(
    full: &Full,
    top: &UniformWidth,
    wanted: &UniformWidth,
    id: OperatorId,
) -> (PairShifts, Vec<AffineChange>) {
    let Some((made_of, wanted_conv)) = conv(top, id).zip(conv(wanted, id)) else {
        return (PairShifts::default(), Vec::new());
    };
    let [gains, wanted_gains] = [made_of, wanted_conv].map(gains);
    let is_last = id.index() + 1 == top.nodes.len();
    let unit = if is_last { wanted.logit_scale / top.logit_scale } else { 1.0 };
    let ratios: Vec<f64> =
        wanted_gains.iter().zip(&gains).map(|(wanted, gain)| unit * wanted / gain).collect();
    let coarser = coarser(&ratios);
    let means = means(full, wanted, id);
    // Stored steps of a code.
    let stored = match made_of.store {
        Store::Codes { fraction, .. } => 2f64.powi(i32::from(fraction)),
        Store::Logits { .. } => 1.0,
    };
    let change = |channel: usize| {
        let ratio = Some(ratios[channel]).filter(|ratio| ratio.is_finite());
        let ratio = ratio.map_or(1.0, |ratio| ratio * 2f64.powi(-i32::from(coarser)));
        let gain = gain_steps(ratio);
        // The mean of the outputs is that of the gain that was wanted.
        let made = 1.0 + f64::from(gain) / GAIN_STEPS;
        let made_up = if made > 0.0 { means[channel] * (ratio / made - 1.0) } else { 0.0 };
        let start = f64::from(made_of.bias[channel]) * 2f64.powi(-i32::from(coarser));
        let bias = f64::from(wanted_conv.bias[channel]) + made_up - start;
        (gain, bias * gains[channel] * stored * made * 2f64.powi(i32::from(coarser)))
    };
    let exact: Vec<(i8, f64)> = (0..gains.len()).map(change).collect();
    let most = exact.iter().map(|(_, bias)| bias.abs()).fold(0.0, f64::max);
    let power = (-15..20).find(|&power| most <= f64::from(i8::MAX) * 2f64.powi(power)).unwrap_or(20);
    let rounded =
        |(gain, bias): (i8, f64)| AffineChange { gain, bias: (bias / 2f64.powi(power)).round() as i8 };
    (PairShifts { gain: coarser, bias: power as i8 }, exact.into_iter().map(rounded).collect())
}

/// The power of two with which changes come nearest to some ratios of gains.
fn coarser(ratios: &[f64]) -> i8 {
    let error = |power: &i8| {
        let error = |ratio: &f64| {
            let wanted = ratio * 2f64.powi(-i32::from(*power));
            let made = 1.0 + f64::from(gain_steps(wanted)) / GAIN_STEPS;
            ((made - wanted) / wanted).powi(2)
        };
        ratios.iter().filter(|ratio| ratio.is_normal()).map(error).sum::<f64>()
    };
    (-7..=7).min_by(|a, b| error(a).total_cmp(&error(b))).unwrap_or(0)
}

/// The change of a gain that is to be multiplied by `ratio`.
fn gain_steps(ratio: f64) -> i8 {
    ((ratio - 1.0) * GAIN_STEPS).round().clamp(f64::from(i8::MIN), f64::from(i8::MAX)) as i8
}

fn conv(uniform: &UniformWidth, id: OperatorId) -> Option<&PackedConv> {
    match &uniform.nodes[id.index()].op {
        PackedOp::Conv(conv) => Some(conv),
        _ => None,
    }
}

/// How many codes, or logits, a sum of 1 is.
fn gains(conv: &PackedConv) -> Vec<f64> {
    match &conv.store {
        Store::Codes { multipliers, fraction, .. } => {
            let bits = |by: &Multiplier| -15 - i32::from(by.shift) - i32::from(*fraction);
            multipliers.iter().map(|by| f64::from(by.value) * 2f64.powi(bits(by))).collect()
        }
        Store::Logits { factors, shift } => {
            factors.iter().map(|&factor| f64::from(factor) * 2f64.powi(-i32::from(*shift))).collect()
        }
    }
}

/// The means that full precision's outputs have, in units of the layer's sums; 0 where they are not known.
fn means(full: &Full, wanted: &UniformWidth, id: OperatorId) -> Vec<f64> {
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
