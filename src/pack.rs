//! Quantized graph → packed model: real numbers end here. `docs/numerics.md` derives the parameters.

use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    Multiplier, PackedConv, PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice, PackedWeights,
    Preprocess, Provenance, Quantizer, Rescale, Store,
};
use crate::graph::GroupNorm;
use crate::index::Per;
use crate::precision::Arrangement;
use crate::quantize::{
    OperatorId, Plain, QuantizedConv, QuantizedGraph, QuantizedNode, QuantizedOp, Weights,
};
use crate::tensor::Shape;

/// Bits of a multiplier whose result is stored at once: the least error for 8-bit results.
const DIRECT_BITS: i32 = 12;
/// Bits of a multiplier whose result has fraction bits.
const FRACTION_BITS: i32 = 15;
/// Fraction bits of sums of two rescaled terms.
const FRACTION: u8 = 4;
/// Fraction bits of normalised values.
const NORMALISED_BITS: f64 = 16.0;
/// Bits and shift of logit factors.
const LOGIT_SHIFT: u8 = 30;

/// What a packed node must know of a value it reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackInput {
    pub quantizer: Quantizer,
    pub shape: Shape,
}

/// A packed operator and what its integers stand for.
#[derive(Debug)]
pub(crate) struct Packing {
    pub node: PackedNode,
    /// Real value of one unit of a convolution's sums, per output channel.
    pub units: Vec<f64>,
    /// Real value of one unit of the logits, if this operator yields them.
    pub logit_scale: Option<f64>,
}

/// The integer operator of a quantized node.
///
/// # Errors
/// Real parameters that integers cannot hold: scales that differ by many orders of magnitude.
pub(crate) fn pack_node(node: &QuantizedNode, inputs: &[PackInput]) -> Result<Packing> {
    let (mut logit_scale, mut units) = (None, Vec::new());
    let output = node.quantizer;
    let op = match (&node.op, inputs) {
        (QuantizedOp::Input { pad }, _) => PackedOp::Input { pad: pad.clone() },
        (QuantizedOp::Conv(conv), [input, rest @ ..]) => {
            let (packed, real_units) = pack_conv(conv, input.quantizer.scale, rest.first(), &output)?;
            logit_scale = conv.logits.then(|| largest(&real_units));
            units = real_units;
            PackedOp::Conv(packed)
        }
        (QuantizedOp::Table { outputs }, [_]) => PackedOp::Table {
            entries: outputs.iter().map(|&value| code(f64::from(value), &output)).collect(),
        },
        (QuantizedOp::Plain(Plain::Add { negate }), [a, b]) => pack_add(*negate, [a, b], &output),
        (QuantizedOp::Plain(Plain::Mul), [a, b]) => {
            PackedOp::Mul(multiplier(a.quantizer.scale * b.quantizer.scale / output.scale, DIRECT_BITS))
        }
        (QuantizedOp::Plain(Plain::Narrow), [input]) => {
            PackedOp::Narrow(rescale(input.quantizer.scale / output.scale))
        }
        (QuantizedOp::Plain(Plain::AveragePool { window, count_include_pad }), [input]) => {
            let by_count = |count: usize| mean(input, count, &output);
            PackedOp::AveragePool {
                window: *window,
                count_include_pad: *count_include_pad,
                by_count: (1..=window.area()).map(by_count).collect(),
            }
        }
        (QuantizedOp::Plain(Plain::GroupNorm(norm)), [input]) => {
            PackedOp::GroupNorm(pack_norm(norm, input, &output))
        }
        (QuantizedOp::Plain(Plain::GlobalAveragePool), [input]) => {
            PackedOp::GlobalAveragePool(mean(input, input.shape.positions(), &output))
        }
        (QuantizedOp::Plain(Plain::GlobalSum), [input]) => {
            logit_scale = Some(input.quantizer.scale / input.shape.positions() as f64);
            PackedOp::GlobalSum
        }
        (QuantizedOp::Plain(Plain::Concat), _) => PackedOp::Concat,
        (QuantizedOp::Plain(Plain::Slice(slice)), _) => {
            PackedOp::Slice(PackedSlice { start: slice.start, end: slice.end, step: slice.step })
        }
        (QuantizedOp::Plain(Plain::Pad(pad)), _) => PackedOp::Pad { before: pad.before, after: pad.after },
        (QuantizedOp::Plain(Plain::MaxPool(window)), _) => PackedOp::MaxPool(*window),
        (QuantizedOp::Plain(Plain::Flatten), _) => PackedOp::Flatten,
        (QuantizedOp::Plain(Plain::ChannelShuffle { groups }), _) => {
            PackedOp::ChannelShuffle { groups: *groups }
        }
        _ => return Err(Error::new(ErrorKind::Shape, "number of operands").at_node(&node.name)),
    };
    let inputs = node.inputs.iter().map(|input| input.packed()).collect();
    let packed = PackedNode { name: node.name.clone(), op, inputs, quantizer: output };
    Ok(Packing { node: packed, units, logit_scale })
}

/// All operators, without what a conversion adds: names of classes, provenance, what was measured.
///
/// # Errors
/// As [`pack_node`], with the node's name.
pub(crate) fn pack_graph(graph: &QuantizedGraph, preprocess: &Preprocess) -> Result<PackedModel> {
    let mut logit_scale = graph.nodes.last().map_or(1.0, |node| node.quantizer.scale);
    let mut nodes = Per::default();
    for node in &graph.nodes {
        let packing = pack_node(node, &graph.sources(node)).map_err(|error| error.at_node(&node.name))?;
        logit_scale = packing.logit_scale.unwrap_or(logit_scale);
        nodes.push(packing.node);
    }
    Ok(PackedModel {
        name: graph.name.clone(),
        input: graph.input,
        preprocess: preprocess.clone(),
        classes: Vec::new(),
        provenance: Provenance::default(),
        nodes,
        logit_scale,
        fidelity: None,
        switching: None,
    })
}

impl QuantizedGraph {
    /// What a node reads.
    pub(crate) fn sources(&self, node: &QuantizedNode) -> Vec<PackInput> {
        let source = |&input: &OperatorId| {
            let QuantizedNode { quantizer, shape, .. } = self.nodes[input];
            PackInput { quantizer, shape }
        };
        node.inputs.iter().map(source).collect()
    }
}

/// The code nearest to a real value; NaN becomes the zero point.
fn code(value: f64, quantizer: &Quantizer) -> u8 {
    let steps = if value.is_nan() { 0.0 } else { value / quantizer.scale };
    (steps.round() + f64::from(quantizer.zero_point)).clamp(0.0, f64::from(quantizer.max)) as u8
}

fn mean(input: &PackInput, count: usize, output: &Quantizer) -> Multiplier {
    multiplier(input.quantizer.scale / (count as f64 * output.scale), DIRECT_BITS)
}

/// The multiplier nearest to `real` with about `bits` significant bits.
fn multiplier(real: f64, bits: i32) -> Multiplier {
    let exponent = if real == 0.0 { 0 } else { real.abs().log2().floor() as i32 };
    let shift = (bits - 16 - exponent).clamp(0, 30);
    let value = (real * f64::from(15 + shift).exp2()).round().clamp(-32767.0, 32767.0);
    Multiplier { shift: shift as u8, value: value as i16 }
}

fn rescale(real: f64) -> Rescale {
    let exponent = if real == 0.0 { 0 } else { real.abs().log2().floor() as i32 };
    let shift = (exponent + 1).clamp(0, 7);
    let value = (real * f64::from(15 - shift).exp2()).round().clamp(-32767.0, 32767.0);
    Rescale { shift: shift as u8, value: value as i16 }
}

/// The most fraction bits, up to [`FRACTION`], with which ratios below 128 and sums below 1 stay in range.
fn fraction_bits(ratios: &[f64], sums: &[f64]) -> u8 {
    let fits = |bits: &u8| {
        let factor = f64::from(*bits).exp2();
        ratios.iter().all(|ratio| ratio.abs() * factor < 127.0)
            && sums.iter().all(|sum| sum.abs() * factor < 1.0)
    };
    (0..=FRACTION).rev().find(fits).unwrap_or(0)
}

fn pack_add(negate: [bool; 2], inputs: [&PackInput; 2], output: &Quantizer) -> PackedOp {
    let ratios = inputs.map(|input| input.quantizer.scale / output.scale);
    let fraction = fraction_bits(&ratios, &[]);
    let signed = |index: usize| {
        let sign = if negate[index] { -1.0 } else { 1.0 };
        rescale(sign * ratios[index] * f64::from(fraction).exp2())
    };
    PackedOp::Add { left: signed(0), right: signed(1), fraction }
}

fn pack_norm(norm: &GroupNorm, input: &PackInput, output: &Quantizer) -> PackedNorm {
    let count = input.shape.channels / norm.groups * norm.span.positions(input.shape.positions());
    let epsilon = f64::from(norm.epsilon) / input.quantizer.scale.powi(2) * (count as f64).powi(2);
    let unit = |&gamma: &f32| f64::from(gamma) * (-NORMALISED_BITS).exp2() / output.scale;
    let units: Vec<f64> = norm.gamma.iter().map(unit).collect();
    let fraction = fraction_bits(&[], &units);
    let factor = f64::from(fraction).exp2();
    let bias = |&beta: &f32| (f64::from(beta) / output.scale * factor).round() as i16;
    PackedNorm {
        groups: norm.groups,
        span: norm.span,
        epsilon: (epsilon.round() as u64).clamp(1, 1 << 60),
        fraction,
        multipliers: units.iter().map(|unit| multiplier(unit * factor, FRACTION_BITS)).collect(),
        bias: norm.beta.iter().map(bias).collect(),
    }
}

fn pack_conv(
    conv: &QuantizedConv,
    input_scale: f64,
    residual: Option<&PackInput>,
    output: &Quantizer,
) -> Result<(PackedConv, Vec<f64>)> {
    let mut channels = PackedChannels::new(conv, input_scale, output)?;
    let weights = channels.fit(conv);
    let store = if conv.logits {
        let largest = largest(&channels.units);
        let factor = |unit: &f64| (unit / largest * f64::from(LOGIT_SHIFT).exp2()).round() as i32;
        Store::Logits { factors: channels.units.iter().map(factor).collect(), shift: LOGIT_SHIFT }
    } else {
        codes_store(conv, &channels.units, residual, output)
    };
    let packed = PackedConv {
        weights,
        outputs: conv.outputs,
        group_inputs: conv.group_inputs,
        groups: conv.groups,
        window: conv.window,
        bias: channels.bias,
        store,
    };
    Ok((packed, channels.units))
}

fn largest(units: &[f64]) -> f64 {
    units.iter().fold(0.0, |largest, unit| largest.max(unit.abs()))
}

fn codes_store(
    conv: &QuantizedConv,
    units: &[f64],
    residual: Option<&PackInput>,
    output: &Quantizer,
) -> Store {
    let sums: Vec<f64> = units.iter().map(|unit| unit / output.scale).collect();
    let ratio = residual.map(|residual| residual.quantizer.scale / output.scale);
    let fraction = ratio.map_or(0, |ratio| fraction_bits(&[ratio], &sums));
    let (factor, bits) =
        (f64::from(fraction).exp2(), if ratio.is_some() { FRACTION_BITS } else { DIRECT_BITS });
    let bound = |bound: f32| code(f64::from(bound), output);
    Store::Codes {
        multipliers: sums.iter().map(|sum| multiplier(sum * factor, bits)).collect(),
        residual: ratio.map(|ratio| rescale(ratio * factor)),
        fraction,
        low: bound(conv.clamp[0]),
        high: bound(conv.clamp[1]),
    }
}

/// Weights and biases of a convolution with the real value of one unit of each channel's sum.
struct PackedChannels {
    arrangement: Arrangement,
    weights: Weights,
    units: Vec<f64>,
    bias: Vec<i32>,
}

impl PackedChannels {
    fn new(conv: &QuantizedConv, input_scale: f64, output: &Quantizer) -> Result<Self> {
        let units: Vec<f64> =
            conv.gain.iter().zip(&conv.factors).map(|(gain, factor)| gain * factor * input_scale).collect();
        if let Some(channel) =
            units.iter().zip(&conv.bias).position(|(u, b)| !(u.is_finite() && b.is_finite()))
        {
            let message = format!("gain or bias of output channel {channel} is not finite");
            return Err(Error::new(ErrorKind::NonFinite, message));
        }
        let (arrangement, weights) = (conv.arrangement(), conv.weights.clone());
        let mut channels = Self { arrangement, weights, units, bias: vec![0; conv.outputs] };
        channels.revive_dead(output);
        channels.limit_units(conv, output);
        Ok(channels)
    }

    /// A channel whose sums mean nothing keeps its bias alone, in a unit that resolves it.
    fn revive_dead(&mut self, output: &Quantizer) {
        for channel in 0..self.units.len() {
            if self.units[channel] == 0.0 {
                self.levels_of(channel).for_each(|level| *level = 0);
                self.units[channel] = output.scale / 64.0;
            }
        }
    }

    /// No multiplier can make more than one step of one unit. Where that would be needed the inputs are next to
    /// constant, so that the bias is what matters: the gain gives way.
    fn limit_units(&mut self, conv: &QuantizedConv, output: &Quantizer) {
        if !conv.logits {
            let limit = largest_unit(output);
            self.units.iter_mut().for_each(|unit| *unit = unit.clamp(-limit, limit));
        }
    }

    /// Halves the weights of channels until no sum can overflow 32 bits, then packs.
    fn fit(&mut self, conv: &QuantizedConv) -> PackedWeights {
        for channel in 0..conv.outputs {
            while !self.fits(conv, channel) {
                self.halve(channel);
            }
        }
        PackedWeights::pack(self.weights.precision, &self.weights.levels, &self.weights.scales)
    }

    fn fits(&mut self, conv: &QuantizedConv, channel: usize) -> bool {
        // Leaves room for the rounding of any shift.
        const LIMIT: f64 = ((1u32 << 31) - 1 - (1 << 30)) as f64;
        let bias = (conv.bias[channel] / self.units[channel]).round();
        let fits = (255 * self.magnitude(channel)) as f64 + bias.abs() <= LIMIT;
        self.bias[channel] = bias.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32;
        fits
    }

    /// Sum of the magnitudes of a channel's weights.
    fn magnitude(&mut self, channel: usize) -> i64 {
        let levels: Vec<i8> = self.levels_of(channel).map(|level| *level).collect();
        let scales: Vec<u8> = self.scales_of(channel).map(|scale| *scale).collect();
        let one = Arrangement { outputs: 1, ..self.arrangement };
        let weights = one.expand(self.weights.precision, &levels, &scales);
        weights.iter().map(|weight| i64::from(weight.unsigned_abs())).sum()
    }

    fn halve(&mut self, channel: usize) {
        if self.weights.precision.grouping().is_some() {
            self.scales_of(channel).for_each(|scale| *scale /= 2);
        } else {
            self.levels_of(channel).for_each(|level| *level /= 2);
        }
        self.units[channel] *= 2.0;
    }

    /// The levels of a channel, plane after plane.
    fn levels_of(&mut self, channel: usize) -> impl Iterator<Item = &mut i8> {
        let len = self.arrangement.channel_len();
        in_planes(&mut self.weights.levels, self.arrangement.outputs, len, channel)
    }

    /// The scales of a channel, plane after plane.
    fn scales_of(&mut self, channel: usize) -> impl Iterator<Item = &mut u8> {
        let len = self.arrangement.channel_groups(self.weights.precision);
        in_planes(&mut self.weights.scales, self.arrangement.outputs, len, channel)
    }
}

/// The largest real value that one unit of a sum can stand for.
pub(crate) fn largest_unit(output: &Quantizer) -> f64 {
    output.scale * 32767.0 / 32768.0
}

/// The `len` values of a channel in every plane of `channels` channels.
fn in_planes<T>(
    values: &mut [T],
    channels: usize,
    len: usize,
    channel: usize,
) -> impl Iterator<Item = &mut T> {
    values.chunks_mut((channels * len).max(1)).flat_map(move |plane| &mut plane[channel * len..][..len])
}

#[cfg(test)]
mod tests;
