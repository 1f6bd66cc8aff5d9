//! Operators that treat every element alike, or every element of a channel.

use super::super::{Affine, BatchNorm, Binary, Unary};
use super::ValueView;
use crate::tensor::Shape;
use crate::wide;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

impl Unary {
    /// The function's value at `x`.
    #[inline]
    pub(crate) fn apply(self, x: f32) -> f32 {
        match self {
            Unary::Relu => x.max(0.0),
            Unary::LeakyRelu(alpha) => leaky(alpha, x),
            Unary::Clip(low, high) => x.max(low).min(high),
            Unary::HardSwish => x * hard_sigmoid(1.0 / 6.0, 0.5, x),
            Unary::HardSigmoid(alpha, beta) => hard_sigmoid(alpha, beta, x),
            Unary::Sigmoid => sigmoid(x),
            Unary::Silu => x * sigmoid(x),
            Unary::Tanh => x.tanh(),
            Unary::Elu(alpha) => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            // erfc keeps its relative precision where 1 + erf would cancel.
            Unary::Gelu => 0.5 * x * libm::erfcf(-x * FRAC_1_SQRT_2),
            Unary::GeluTanh => {
                0.5 * x * (1.0 + (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044_715 * x * x * x)).tanh())
            }
            Unary::Erf => libm::erff(x),
            Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Abs => x.abs(),
            Unary::Reciprocal => 1.0 / x,
            Unary::Pow(exponent) => x.powf(exponent),
        }
    }
}

impl Binary {
    /// The result for one pair of elements.
    pub(crate) fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
        }
    }
}

impl BatchNorm {
    /// The same function as `scale·x + shift`.
    pub(crate) fn to_affine(&self) -> Affine {
        let variances = self.variance.iter().map(|&v| f64::from(v) + f64::from(self.epsilon));
        let scales = self
            .gamma
            .iter()
            .zip(variances)
            .map(|(&gamma, v)| f64::from(gamma) / v.sqrt())
            .collect::<Vec<_>>();
        let shift = self
            .beta
            .iter()
            .zip(&self.mean)
            .zip(&scales)
            .map(|((&beta, &mean), scale)| (f64::from(beta) - f64::from(mean) * scale) as f32)
            .collect();
        Affine { scale: scales.into_iter().map(|scale| scale as f32).collect(), shift }
    }
}

fn leaky(alpha: f32, x: f32) -> f32 {
    if x > 0.0 { x } else { alpha * x }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_sigmoid(alpha: f32, beta: f32, x: f32) -> f32 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

/// `unary` of every value. The common functions get loops of their own, which the compiler can vectorise.
pub(super) fn unary(unary: Unary, values: &[f32]) -> Vec<f32> {
    match unary {
        Unary::Relu => wide::map(values, |x| x.max(0.0)),
        Unary::Clip(low, high) => wide::map(values, |x| x.max(low).min(high)),
        Unary::HardSwish => values.iter().map(|&x| Unary::HardSwish.apply(x)).collect(),
        _ => values.iter().map(|&x| unary.apply(x)).collect(),
    }
}

/// `scale·x + shift`, per channel or alike for all.
pub(super) fn affine(affine: &Affine, input: ValueView<'_>) -> Vec<f32> {
    per_channel(input, |channel| {
        let scale = affine.scale[channel % affine.scale.len()];
        let shift = affine.shift[channel % affine.shift.len()];
        move |x| scale * x + shift
    })
}

/// Negative values times the slope of their channel, or the one slope.
pub(super) fn prelu(slopes: &[f32], input: ValueView<'_>) -> Vec<f32> {
    per_channel(input, |channel| {
        let slope = slopes[channel % slopes.len()];
        move |x| leaky(slope, x)
    })
}

fn per_channel<F: Fn(f32) -> f32>(
    (values, shape): ValueView<'_>,
    function_of: impl Fn(usize) -> F,
) -> Vec<f32> {
    let mut result = Vec::with_capacity(values.len());
    for (channel, plane) in values.chunks_exact(shape.positions()).enumerate() {
        let function = function_of(channel);
        result.extend(plane.iter().map(|&x| function(x)));
    }
    result
}

/// Arithmetic on two tensors, extents of 1 broadcast.
pub(super) fn binary(binary: Binary, a: ValueView<'_>, b: ValueView<'_>, output: Shape) -> Vec<f32> {
    if a.1 == b.1 {
        return combine(binary, a.0, b.0);
    }
    let mut result = Vec::with_capacity(output.len());
    for channel in 0..output.channels {
        for row in 0..output.height {
            let (a, b) = (line(a, channel, row, output.width), line(b, channel, row, output.width));
            result.extend(a.zip(b).map(|(a, b)| binary.apply(a, b)));
        }
    }
    result
}

fn combine(binary: Binary, a: &[f32], b: &[f32]) -> Vec<f32> {
    match binary {
        Binary::Add => wide::map_pairs(a, b, |a, b| a + b),
        Binary::Mul => wide::map_pairs(a, b, |a, b| a * b),
        Binary::Sub | Binary::Div => wide::map_pairs(a, b, |a, b| binary.apply(a, b)),
    }
}

/// One row of `width` values of a tensor whose extents of 1 are repeated.
fn line(
    (values, shape): ValueView<'_>,
    channel: usize,
    row: usize,
    width: usize,
) -> impl Iterator<Item = f32> {
    let (channel, row) = (channel % shape.channels, row % shape.height);
    let line = &values[(channel * shape.height + row) * shape.width..][..shape.width];
    line.iter().copied().cycle().take(width)
}
