//! Gains and biases of one pair of widths as changes of those at full width.

use super::switching::PackedVariant;
use crate::format::{AffineChange, Multiplier, PackedConv, PackedOp, PairShifts, Store};
use crate::prepare::Full;
use crate::quantize::{OperatorId, QuantizedOp};

/// Steps of a gain's change in one.
const GAIN_STEPS: f64 = 128.0;

/// Shifts, and a change for every output channel, which make a layer of `top` that of `wanted`.
pub(super) fn changes(
    full: &Full,
    top: &PackedVariant,
    wanted: &PackedVariant,
    id: OperatorId,
) -> (PairShifts, Vec<AffineChange>) {
    let Some((made_of, wanted_conv)) = conv(top, id).zip(conv(wanted, id)) else {
        return (PairShifts::default(), Vec::new());
    };
    let is_last = top.model.nodes.is_last(id.packed());
    let unit = if is_last { wanted.model.logit_scale / top.model.logit_scale } else { 1.0 };
    changes_between([made_of, wanted_conv], unit, &means(full, wanted, id))
}

/// The same for two convolutions, the second of which stores in steps of `unit` of the first one's and whose sums, biases
/// included, have these means.
fn changes_between(
    [made_of, wanted_conv]: [&PackedConv; 2],
    unit: f64,
    means: &[f64],
) -> (PairShifts, Vec<AffineChange>) {
    let [gains, wanted_gains] = [made_of, wanted_conv].map(gains);
    let ratios: Vec<f64> =
        wanted_gains.iter().zip(&gains).map(|(wanted, gain)| unit * wanted / gain).collect();
    let coarser = coarser(&ratios);
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

fn conv<'a>(packed: &'a PackedVariant, id: OperatorId) -> Option<&'a PackedConv> {
    match &packed.model.nodes[id.packed()].op {
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
fn means(full: &Full, wanted: &PackedVariant, id: OperatorId) -> Vec<f64> {
    let node = &wanted.variant.graph.nodes[id];
    let QuantizedOp::Conv(conv) = &node.op else { return Vec::new() };
    let input = wanted.variant.graph.nodes[node.inputs[0]].quantizer.scale;
    let statistics = full.observation.channels[conv.source].as_ref();
    let mean = |channel: usize| {
        let unit = conv.gain[channel] * conv.factors[channel] * input;
        let mean = statistics.map_or(0.0, |statistics| statistics.mean(channel) / unit);
        if mean.is_finite() { mean } else { 0.0 }
    };
    (0..conv.outputs).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::Choices;
    use crate::format::{PackedId, PackedWeights, SwitchedLayer};
    use crate::precision::Precision;
    use crate::tensor::Window;
    use proptest::prelude::*;

    const OUTPUTS: usize = 12;

    /// A convolution with these gains, of 12 or 15 bits.
    fn conv(gains: &[f64], bias: Vec<i32>, fraction: u8) -> PackedConv {
        let multiplier = |gain: &f64| {
            let bits = if fraction > 0 { 15.0 } else { 12.0 };
            let shift = (bits - 16.0 - gain.log2()).floor().max(0.0);
            Multiplier { shift: shift as u8, value: (gain * 2f64.powf(15.0 + shift)).round() as i16 }
        };
        let multipliers =
            gains.iter().map(|gain| multiplier(&(gain * 2f64.powi(i32::from(fraction))))).collect();
        PackedConv {
            weights: PackedWeights { precision: Precision::int8(), codes: Vec::new(), scales: Vec::new() },
            outputs: OUTPUTS,
            group_inputs: 1,
            groups: 1,
            window: Window::new([1, 1]),
            bias,
            store: Store::Codes { multipliers, residual: None, fraction, low: 0, high: 255 },
        }
    }

    proptest! {
        /// Whatever inputs of fewer bits did to sums, and whatever fraction bits each width has.
        #[test]
        fn what_is_made_yields_what_was_wanted(seed: u64, coarser in -3i32..3, fraction in prop::sample::select(vec![0u8, 4]), other in prop::sample::select(vec![0u8, 4])) {
            let mut choices = Choices(seed);
            let mut real = |low: f64, high: f64| low + (high - low) * choices.below(1000) as f64 / 1000.0;
            let gains: Vec<f64> = (0..OUTPUTS).map(|_| real(0.0005, 0.009)).collect();
            let wanted: Vec<f64> = gains.iter().map(|gain| gain * 2f64.powi(coarser) * real(0.6, 1.6)).collect();
            // Biases of up to a hundred codes.
            let biases = |gains: &[f64], real: &mut dyn FnMut(f64, f64) -> f64| -> Vec<i32> {
                gains.iter().map(|gain| (real(-100.0, 100.0) / gain) as i32).collect()
            };
            let top = conv(&gains, biases(&gains, &mut real), fraction);
            let target = conv(&wanted, biases(&wanted, &mut real), other);
            let means: Vec<f64> = wanted.iter().map(|gain| real(-60.0, 60.0) / gain).collect();
            let (shifts, changes) = changes_between([&top, &target], 1.0, &means);
            let layer = SwitchedLayer { node: PackedId::INPUT, own: true, shifts: vec![shifts], changes };
            let made = layer.affine(&top, 0);
            let [made_gains, target_gains] = [&made, &target].map(super::gains);
            for channel in 0..OUTPUTS {
                let sum = means[channel] - f64::from(target.bias[channel]);
                let mean = (sum + f64::from(made.bias[channel])) * made_gains[channel];
                let error = mean - means[channel] * target_gains[channel];
                let half_a_step = 2f64.powi(i32::from(shifts.bias) - i32::from(fraction) - 1);
                prop_assert!(error.abs() <= half_a_step + 0.2, "{error} codes of the mean");
                let ratio = made_gains[channel] / target_gains[channel];
                prop_assert!((ratio - 1.0).abs() <= 0.01, "gains {ratio}");
            }
        }
    }
}
