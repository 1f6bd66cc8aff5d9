//! Packed operators against real arithmetic, within the bounds of `docs/numerics.md`.

use super::*;
use crate::fixed;
use crate::graph::arbitrary::{Choices, node_id};
use crate::graph::{Op, evaluate};
use crate::plan::{Choice, Reason};
use crate::precision::Precision;
use crate::quantize::OperatorId;
use crate::runtime::{Kernels, Operand, Step};
use crate::tensor::{Batch, Span, Window};
use proptest::prelude::*;

/// A number in 0..1.
fn unit(choices: &mut Choices) -> f64 {
    choices.below(1 << 30) as f64 / f64::from(1u32 << 30)
}

/// A number between `low` and `high`, all magnitudes alike.
fn magnitude(choices: &mut Choices, low: f64, high: f64) -> f64 {
    low * (high / low).powf(unit(choices))
}

fn quantizer(choices: &mut Choices, scale: f64) -> Quantizer {
    let max = choices.pick(&[15, 255, 255]);
    let any = choices.next() as u8;
    Quantizer { scale, zero_point: choices.pick(&[0, max, any, any]).min(max), max }
}

/// A tensor of one image: its codes and what they stand for.
#[derive(Debug, Clone)]
struct Tensor {
    batch: Batch<u8>,
    quantizer: Quantizer,
}

impl Tensor {
    fn new(choices: &mut Choices, shape: Shape, scale: f64) -> Self {
        let quantizer = quantizer(choices, scale);
        let code = |choices: &mut Choices| choices.below(usize::from(quantizer.max) + 1) as u8;
        let data = (0..shape.len()).map(|_| code(choices)).collect();
        Self { batch: Batch { images: 1, shape, data }, quantizer }
    }

    fn real(&self, index: usize) -> f64 {
        (f64::from(self.batch.data[index]) - f64::from(self.quantizer.zero_point)) * self.quantizer.scale
    }

    fn reals(&self) -> impl Iterator<Item = f64> {
        (0..self.batch.data.len()).map(|index| self.real(index))
    }

    fn source(&self) -> PackInput {
        PackInput { quantizer: self.quantizer, shape: self.batch.shape }
    }
}

/// The codes and the packing of one operator.
fn run(op: QuantizedOp, inputs: &[&Tensor], shape: Shape, quantizer: Quantizer) -> (Vec<u8>, Packing) {
    let node = QuantizedNode {
        name: "n".into(),
        op,
        inputs: (0..inputs.len()).map(OperatorId::from_index).collect(),
        shape,
        quantizer,
        range: None,
    };
    let sources: Vec<PackInput> = inputs.iter().map(|tensor| tensor.source()).collect();
    let packing = pack_node(&node, &sources).unwrap();
    let operand = |tensor: &&Tensor| Operand {
        zero_points: vec![tensor.quantizer.zero_point],
        largest: tensor.quantizer.max,
        shape: tensor.batch.shape,
    };
    let operands: Vec<Operand> = inputs.iter().map(operand).collect();
    let step = Step::new(&packing.node, &operands, shape, Kernels::Reference);
    let batches: Vec<&Batch<u8>> = inputs.iter().map(|tensor| &tensor.batch).collect();
    (step.codes(&batches).unwrap().data, packing)
}

/// How far a code is from the real value it should stand for, in steps.
fn steps_off(code: u8, real: f64, quantizer: &Quantizer, [low, high]: [f64; 2]) -> f64 {
    let exact = real.clamp(low, high) / quantizer.scale + f64::from(quantizer.zero_point);
    (f64::from(code) - exact.clamp(0.0, f64::from(quantizer.max))).abs()
}

/// A convolution of one position over all `inputs` channels, with channels of every kind.
fn random_conv(choices: &mut Choices, inputs: usize, outputs: usize) -> QuantizedConv {
    let group = 1 + choices.below(5);
    let names = ["int8", "int8", "int4", "pow2:3", "int4:G", "ternary:G", "ternary:G/4", "ternary:G*2"];
    let precision: Precision = choices.pick(&names).replace('G', &group.to_string()).parse().unwrap();
    let all: Vec<i8> = precision.levels().iter().collect();
    let count = precision.planes() * inputs * outputs;
    let mut levels: Vec<i8> = (0..count).map(|_| all[choices.below(all.len())]).collect();
    if choices.below(4) == 0 {
        levels.chunks_mut(inputs * outputs).for_each(|plane| plane[..inputs].fill(0));
    }
    let groups = precision.group().map_or(0, |group| outputs * inputs.div_ceil(group));
    let plane = |largest: &u8| {
        (0..groups).map(|_| choices.below(usize::from(*largest) + 1) as u8).collect::<Vec<_>>()
    };
    let scales = precision.plane_scales().iter().flat_map(plane).collect();
    let weights = Weights { precision, levels, scales };
    let gain = |choices: &mut Choices| magnitude(choices, 0.1, 10.0) * choices.pick(&[1.0, 1.0, -1.0, 0.0]);
    QuantizedConv {
        nest: None,
        weights,
        factors: (0..outputs).map(|_| magnitude(choices, 1e-3, 1e-2)).collect(),
        gain: (0..outputs).map(|_| gain(choices)).collect(),
        bias: (0..outputs).map(|_| 2.0 * unit(choices) - 1.0).collect(),
        window: Window::new([1, 1]),
        groups: 1,
        group_inputs: inputs,
        outputs,
        clamp: choices.pick(&[[f32::NEG_INFINITY, f32::INFINITY], [0.0, f32::INFINITY], [-1.0, 1.0]]),
        logits: false,
        source: node_id(0),
        choice: Choice { precision, reason: Reason::Default },
    }
}

fn real_output(conv: &QuantizedConv, input: &Tensor, channel: usize) -> f64 {
    let weights = &conv.expand()[channel * conv.group_inputs..][..conv.group_inputs];
    let sum: f64 = weights.iter().zip(input.reals()).map(|(&weight, x)| f64::from(weight) * x).sum();
    conv.gain[channel] * conv.factors[channel] * sum + conv.bias[channel]
}

/// A scale with which `reals` fill about half of 256 codes.
fn fitting_scale(reals: &[f64]) -> f64 {
    reals.iter().fold(0.01, |largest: f64, real| largest.max(real.abs())) / 100.0
}

fn bounds(conv: &QuantizedConv, quantizer: &Quantizer) -> [f64; 2] {
    // Bounds are rounded to codes.
    conv.clamp.map(|bound| (f64::from(bound) / quantizer.scale).round() * quantizer.scale)
}

proptest! {
    #[test]
    fn multipliers_are_precise(real in 1e-6f64..0.9, negative: bool) {
        let real = if negative { -real } else { real };
        for bits in [DIRECT_BITS, FRACTION_BITS] {
            let Multiplier { shift, value } = multiplier(real, bits);
            let restored = f64::from(value) / 32768.0 / f64::from(shift).exp2();
            prop_assert!((restored - real).abs() <= real.abs() * f64::from(1 - bits).exp2());
        }
    }

    #[test]
    fn direct_requantization_is_within_the_documented_bound(real in 1e-5f64..0.9, wanted in -255.0f64..255.0) {
        let acc = (wanted / real) as i32;
        let exact = f64::from(acc) * real;
        let Multiplier { shift, value } = multiplier(real, DIRECT_BITS);
        let error = f64::from(fixed::requantize(acc, shift, value)) - exact;
        prop_assert!(error.abs() <= 0.6, "{error}");
    }

    #[test]
    fn convolutions_are_within_the_documented_bound(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let (inputs, outputs) = (1 + choices.below(40), 1 + choices.below(5));
        let scale = magnitude(choices, 1e-2, 1.0);
        let input = Tensor::new(choices, Shape::flat(inputs), scale);
        let conv = random_conv(choices, inputs, outputs);
        let exact: Vec<f64> = (0..outputs).map(|channel| real_output(&conv, &input, channel)).collect();
        let output = quantizer(choices, fitting_scale(&exact));
        let (codes, packing) =
            run(QuantizedOp::Conv(Box::new(conv.clone())), &[&input], Shape::flat(outputs), output);
        for channel in 0..outputs {
            let off = steps_off(codes[channel], exact[channel], &output, bounds(&conv, &output));
            // The bias is a whole number of units.
            let unit = packing.units[channel].abs() / output.scale;
            prop_assume!(unit < 0.99);
            prop_assert!(off <= 0.6 + 0.5 * unit, "channel {channel}: {off}, unit {unit}");
        }
    }

    #[test]
    fn residuals_are_within_the_documented_bound(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let (inputs, outputs) = (1 + choices.below(40), 1 + choices.below(5));
        let scale = magnitude(choices, 1e-2, 1.0);
        let input = Tensor::new(choices, Shape::flat(inputs), scale);
        let conv = random_conv(choices, inputs, outputs);
        let own: Vec<f64> = (0..outputs).map(|channel| real_output(&conv, &input, channel)).collect();
        let output = quantizer(choices, fitting_scale(&own));
        let scale = output.scale * magnitude(choices, 0.05, 7.0);
        let residual = Tensor::new(choices, Shape::flat(outputs), scale);
        let op = QuantizedOp::Conv(Box::new(conv.clone()));
        let (codes, packing) = run(op, &[&input, &residual], Shape::flat(outputs), output);
        let PackedOp::Conv(packed) = &packing.node.op else { unreachable!() };
        let Store::Codes { fraction, .. } = packed.store else { unreachable!() };
        prop_assume!(fraction == FRACTION);
        for channel in 0..outputs {
            let exact = own[channel] + residual.real(channel);
            let off = steps_off(codes[channel], exact, &output, bounds(&conv, &output));
            let unit = packing.units[channel].abs() / output.scale;
            prop_assert!(off <= 0.7 + 0.5 * unit, "channel {channel}: {off}, unit {unit}");
        }
    }

    /// A bias far above what 32 bits of units hold: weights give way, the bias stays.
    #[test]
    fn huge_biases_survive(seed: u64, exponent in -40i32..-9) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let input = Tensor::new(choices, Shape::flat(9), 1e-2);
        let mut conv = random_conv(choices, 9, 4);
        conv.factors = vec![10f64.powi(exponent); 4];
        let exact: Vec<f64> = (0..4).map(|channel| real_output(&conv, &input, channel)).collect();
        let output = quantizer(choices, fitting_scale(&exact));
        let (codes, packing) = run(QuantizedOp::Conv(Box::new(conv.clone())), &[&input], Shape::flat(4), output);
        let PackedOp::Conv(packed) = &packing.node.op else { unreachable!() };
        for channel in 0..4 {
            let off = steps_off(codes[channel], exact[channel], &output, bounds(&conv, &output));
            prop_assert!(off <= 0.6, "channel {channel}: {off}");
            let weights = &packed.expand()[channel * 9..][..9];
            let sum: i64 = weights.iter().map(|weight| i64::from(weight.unsigned_abs()) * 255).sum();
            let Store::Codes { multipliers, .. } = &packed.store else { unreachable!() };
            let rounding = 1i64 << multipliers[channel].shift;
            prop_assert!(sum + i64::from(packed.bias[channel]).abs() + rounding <= i64::from(i32::MAX));
        }
    }

    #[test]
    fn logits_share_a_unit(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let input = Tensor::new(choices, Shape::flat(20), 1e-2);
        let mut conv = QuantizedConv { logits: true, ..random_conv(choices, 20, 5) };
        conv.clamp = [f32::NEG_INFINITY, f32::INFINITY];
        let exact: Vec<f64> = (0..5).map(|channel| real_output(&conv, &input, channel)).collect();
        let output = quantizer(choices, fitting_scale(&exact));
        let sources = [input.source()];
        let op = QuantizedOp::Conv(Box::new(conv));
        let node = QuantizedNode { name: "n".into(), op, inputs: vec![OperatorId::INPUT], shape: Shape::flat(5), quantizer: output, range: None };
        let packing = pack_node(&node, &sources).unwrap();
        let zero_points = vec![input.quantizer.zero_point];
        let operand = Operand { zero_points, largest: input.quantizer.max, shape: input.batch.shape };
        let step = Step::new(&packing.node, &[operand], Shape::flat(5), Kernels::Portable);
        let scale = packing.logit_scale.unwrap();
        for (logit, exact) in step.logits(&[&input.batch]).unwrap().data.iter().zip(&exact) {
            prop_assert!((f64::from(*logit) * scale - exact).abs() <= 1.01 * scale);
        }
    }

    #[test]
    fn sums_products_and_means_are_within_the_bound(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let shape = Shape::new(2, 3, 4);
        let scales = [magnitude(choices, 1e-2, 1e-1), magnitude(choices, 1e-2, 1e-1)];
        let (a, b) = (Tensor::new(choices, shape, scales[0]), Tensor::new(choices, shape, scales[1]));
        let free = [f64::NEG_INFINITY, f64::INFINITY];
        let negate = choices.pick(&[[false, false], [false, true], [true, false]]);
        let signed = |index: usize, real: f64| if negate[index] { -real } else { real };
        let sums: Vec<f64> = a.reals().zip(b.reals()).map(|(a, b)| signed(0, a) + signed(1, b)).collect();
        let products: Vec<f64> = a.reals().zip(b.reals()).map(|(a, b)| a * b).collect();
        for (op, exact) in [(QuantizedOp::Plain(Plain::Add { negate }), sums), (QuantizedOp::Plain(Plain::Mul), products)] {
            // No finer than one step of the product, as quantizers are.
            let output = quantizer(choices, fitting_scale(&exact).max(scales[0] * scales[1]));
            let (codes, packing) = run(op, &[&a, &b], shape, output);
            prop_assume!(!matches!(packing.node.op, PackedOp::Add { fraction, .. } if fraction < FRACTION));
            for (&code, &exact) in codes.iter().zip(&exact) {
                let off = steps_off(code, exact, &output, free);
                prop_assert!(off <= 0.65, "{:?}: {off}", packing.node.op);
            }
        }
        let mean = |channel: usize| a.reals().skip(channel).step_by(2).sum::<f64>() / 12.0;
        let exact = [mean(0), mean(1)];
        let output = quantizer(choices, a.quantizer.scale / 3.0);
        let (codes, _) = run(QuantizedOp::Plain(Plain::GlobalAveragePool), &[&a], Shape::flat(2), output);
        let window = Window::new([3, 4]);
        let whole = QuantizedOp::Plain(Plain::AveragePool { window, count_include_pad: false });
        let (windowed, _) = run(whole, &[&a], Shape::flat(2), output);
        prop_assert_eq!(&windowed, &codes);
        for (&code, &exact) in codes.iter().zip(&exact) {
            prop_assert!(steps_off(code, exact, &output, free) <= 0.6);
        }
    }

    #[test]
    fn normalised_groups_are_within_the_bound(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let (groups, shape) = (1 + choices.below(2), Shape::new(8, 3, 4));
        let input = magnitude(choices, 1e-3, 1e1);
        let input = Tensor::new(choices, shape, input);
        let mut factors = |size: f64| (0..8).map(|_| ((unit(choices) - 0.5) * size) as f32).collect::<Vec<_>>();
        let (gamma, beta) = (factors(4.0), factors(2.0));
        let span = choices.pick(&[Span::Position, Span::Image]);
        let norm = GroupNorm { groups, span, gamma, beta, epsilon: choices.pick(&[1e-6, 1e-3, 1.0]) };
        let by_channel: Vec<f32> = (0..96).map(|i| input.real(i % 12 * 8 + i / 12) as f32).collect();
        let exact = evaluate(&Op::GroupNorm(norm.clone()), &[(&by_channel, shape)], shape).unwrap();
        let exact: Vec<f64> = (0..96).map(|i| f64::from(exact[i % 8 * 12 + i / 8])).collect();
        let output = quantizer(choices, fitting_scale(&exact));
        let (codes, packing) = run(QuantizedOp::Plain(Plain::GroupNorm(norm)), &[&input], shape, output);
        let PackedOp::GroupNorm(packed) = &packing.node.op else { unreachable!() };
        prop_assume!(packed.fraction == FRACTION && packed.epsilon >= 1000);
        for (&code, &exact) in codes.iter().zip(&exact) {
            let off = steps_off(code, exact, &output, [f64::NEG_INFINITY, f64::INFINITY]);
            prop_assert!(off <= 0.63, "{packed:?}: {off}");
        }
    }

    #[test]
    fn rescaling_is_within_the_documented_bound(real in 1e-3f64..120.0, code: u8, zero: u8) {
        let Rescale { shift, value } = rescale(real);
        let exact = (f64::from(code) - f64::from(zero)) * real;
        let error = f64::from(fixed::rescale(code, zero, shift, value)) - exact;
        prop_assert!(error.abs() <= 0.5 + 255.0 * f64::from(shift).exp2() / 65536.0 + 1e-9, "{error}");
    }
}

#[test]
fn codes_saturate_and_nan_is_zero() {
    let q = Quantizer { scale: 0.5, zero_point: 10, max: 15 };
    let values = [f64::NEG_INFINITY, -4.0, 0.0, 0.3, 9.0, f64::INFINITY, f64::NAN];
    assert_eq!(values.map(|value| code(value, &q)), [0, 2, 10, 11, 15, 15, 10]);
}

/// The inputs of such a channel hardly ever leave zero; what matters is that its bias stays.
#[test]
fn units_coarser_than_a_step_keep_the_bias() {
    let mut choices = Choices(3);
    let mut conv = random_conv(&mut choices, 1, 1);
    conv.weights = Weights { precision: Precision::int8(), levels: vec![127], scales: vec![] };
    (conv.gain, conv.factors, conv.bias) = (vec![1.0], vec![1.0], vec![0.77]);
    let zero = Quantizer { scale: 1.0, zero_point: 7, max: 255 };
    let input = Tensor { batch: Batch { images: 1, shape: Shape::flat(1), data: vec![7] }, quantizer: zero };
    let output = Quantizer { scale: 0.01, zero_point: 20, max: 255 };
    let (codes, _) = run(QuantizedOp::Conv(Box::new(conv)), &[&input], Shape::flat(1), output);
    assert_eq!(codes, [97]);
}

#[test]
fn parameters_that_are_not_finite_are_refused() {
    let mut choices = Choices(4);
    let mut conv = random_conv(&mut choices, 2, 3);
    conv.bias[2] = f64::NAN;
    let input = Tensor::new(&mut choices, Shape::flat(2), 1.0);
    let op = QuantizedOp::Conv(Box::new(conv));
    let (shape, quantizer) = (Shape::flat(3), input.quantizer);
    let node = QuantizedNode {
        name: "n".into(),
        op,
        inputs: vec![OperatorId::INPUT],
        shape,
        quantizer,
        range: None,
    };
    let error = pack_node(&node, &[input.source()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("channel 2"), "{error}");
}

#[test]
fn tables_hold_the_nearest_code() {
    let outputs: Vec<f32> = (0..256).map(|code| code as f32 / 64.0 - 1.0).collect();
    let mut choices = Choices(5);
    let input = Tensor::new(&mut choices, Shape::flat(9), 1.0);
    let output = Quantizer { scale: 0.1, zero_point: 8, max: 15 };
    let (codes, _) = run(QuantizedOp::Table { outputs: outputs.clone() }, &[&input], Shape::flat(9), output);
    for (&code, &from) in codes.iter().zip(&input.batch.data) {
        let real = f64::from(outputs[usize::from(from)]);
        assert!(steps_off(code, real, &output, [f64::NEG_INFINITY, f64::INFINITY]) <= 0.5 + 1e-6);
    }
}
