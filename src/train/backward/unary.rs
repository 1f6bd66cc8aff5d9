//! Derivatives of functions of one number.

use crate::graph::Unary;
use crate::wide;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

impl Unary {
    /// The derivative at `x`; where there is none, that of one side.
    pub(in crate::train) fn derivative(self, x: f32) -> f32 {
        let step = |inside: bool| if inside { 1.0 } else { 0.0 };
        match self {
            Self::Relu => step(x > 0.0),
            Self::LeakyRelu(alpha) => {
                if x > 0.0 {
                    1.0
                } else {
                    alpha
                }
            }
            Self::Clip(low, high) => step(x > low && x < high),
            Self::HardSwish => (x / 6.0 + 0.5).clamp(0.0, 1.0) + step(x.abs() < 3.0) * x / 6.0,
            Self::HardSigmoid(alpha, beta) => step((0.0..1.0).contains(&(alpha * x + beta))) * alpha,
            Self::Sigmoid => sigmoid_slope(x),
            Self::Silu => Self::Sigmoid.apply(x) + x * sigmoid_slope(x),
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::Elu(alpha) => {
                if x > 0.0 {
                    1.0
                } else {
                    alpha * x.exp()
                }
            }
            Self::Gelu => {
                let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp();
                0.5 * libm::erfcf(-x * FRAC_1_SQRT_2) + x * density
            }
            Self::GeluTanh => {
                let root = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
                let tanh = (root * (x + 0.044_715 * x * x * x)).tanh();
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * root * (1.0 + 0.134_145 * x * x)
            }
            Self::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            Self::Softplus => Self::Sigmoid.apply(x),
            Self::Exp => x.exp(),
            Self::Log => 1.0 / x,
            Self::Sqrt => 0.5 / x.sqrt(),
            Self::Abs => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Self::Reciprocal => -1.0 / (x * x),
            Self::Pow(exponent) => exponent * x.powf(exponent - 1.0),
        }
    }
}

fn sigmoid_slope(x: f32) -> f32 {
    let sigmoid = Unary::Sigmoid.apply(x);
    sigmoid * (1.0 - sigmoid)
}

/// Gradients of the inputs. The common functions get loops of their own, which the compiler can vectorise.
pub(super) fn unary(unary: Unary, values: &[f32], gradient: &[f32]) -> Vec<f32> {
    match unary {
        Unary::Relu => wide::map_pairs(values, gradient, |x, dy| if x > 0.0 { dy } else { 0.0 }),
        Unary::Clip(low, high) => {
            wide::map_pairs(values, gradient, |x, dy| if x > low && x < high { dy } else { 0.0 })
        }
        _ => wide::map_pairs(values, gradient, |x, dy| dy * unary.derivative(x)),
    }
}
