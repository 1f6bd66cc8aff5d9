//! Derivatives of the operators: from the gradient of a value to those of what it was made from.
//!
//! `graph::evaluate` defines the functions; the tests compare with finite differences of it and with PyTorch.

mod conv;
mod depthwise;
mod layout;
mod normalize;
mod pointwise;
mod pool;
#[cfg(test)]
mod tests;
mod unary;

pub(super) use conv::ConvBackward;
pub(super) use normalize::{Moments, batch_norm, batch_norm_by};

use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Op, ValueView};
use crate::tensor::Shape;
use crate::wide;

/// One image's part in a backward step.
#[derive(Debug, Clone)]
pub(super) struct Example<'a> {
    /// What the operator read.
    pub inputs: Vec<ValueView<'a>>,
    /// Gradient of what it made.
    pub gradient: &'a [f32],
}

/// What is wanted of a backward step.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedGradients {
    pub inputs: bool,
    pub parameters: bool,
}

/// Gradients of a loss that adds up over some images.
#[derive(Debug, Default)]
pub(super) struct Backward {
    /// Of every image's inputs, in operator order; empty unless wanted.
    pub inputs: Vec<Vec<Vec<f32>>>,
    /// Of the parameters, in the order of [`parameters`](super::parameters::parameters); empty unless wanted.
    pub parameters: Vec<Vec<f32>>,
}

/// Gradients of an operator's inputs and parameters, given those of its outputs of shape `output` on some images.
pub(super) fn backward(
    op: &Op,
    examples: &[Example],
    output: Shape,
    wanted: WantedGradients,
) -> Result<Backward> {
    if let Op::Conv(conv) = op {
        let shape = examples.first().and_then(|example| example.inputs.first()).ok_or_else(operands)?.1;
        return Ok(ConvBackward::new(conv, shape, output)?.whole(examples, wanted));
    }
    let mut result = Backward::default();
    for example in examples {
        let (inputs, parameters) = single(op, example, output)?;
        if wanted.inputs {
            result.inputs.push(inputs);
        }
        if wanted.parameters {
            add_all(&mut result.parameters, parameters);
        }
    }
    Ok(result)
}

/// Gradients of one image's inputs, and of the parameters.
type Single = (Vec<Vec<f32>>, Vec<Vec<f32>>);

fn single(op: &Op, example: &Example, output: Shape) -> Result<Single> {
    let gradient = example.gradient;
    let only = |inputs| Ok((inputs, Vec::new()));
    match (op, example.inputs.as_slice()) {
        (Op::Binary(binary), &[a, b]) => only(pointwise::binary(*binary, a, b, output, gradient)),
        (Op::Concat, inputs) => only(layout::concat(inputs, gradient)),
        (op, &[input]) => match op {
            Op::Unary(unary) => only(vec![unary::unary(*unary, input.0, gradient)]),
            Op::BatchNorm(norm) => Ok(normalize::running(norm, input, gradient)),
            Op::GroupNorm(norm) => Ok(normalize::group_norm(norm, input, gradient)),
            Op::Affine(affine) => Ok(pointwise::affine(affine, input, gradient)),
            Op::PRelu(slopes) => Ok(pointwise::prelu(slopes, input, gradient)),
            Op::Slice(slice) => only(vec![layout::slice(slice, input.1, gradient)]),
            Op::Pad(pad) => only(vec![layout::pad(pad, input.1, output, gradient)]),
            Op::MaxPool(window) => only(vec![pool::max(window, input, output, gradient)]),
            Op::AveragePool { window, count_include_pad } => {
                only(vec![pool::average(window, *count_include_pad, input.1, output, gradient)])
            }
            Op::GlobalAveragePool => only(vec![pool::global_average(input.1, gradient)]),
            Op::ChannelShuffle { groups } => only(vec![layout::shuffle(*groups, input.1, gradient)]),
            Op::Flatten => only(vec![gradient.to_vec()]),
            Op::Input | Op::Conv(_) | Op::Binary(_) | Op::Concat => Err(operands()),
        },
        _ => Err(operands()),
    }
}

fn operands() -> Error {
    Error::new(ErrorKind::Shape, "wrong number of inputs")
}

/// Adds gradients to the sums so far, of which there may be none yet.
pub(super) fn add_all(sums: &mut Vec<Vec<f32>>, gradients: Vec<Vec<f32>>) {
    if sums.is_empty() {
        *sums = gradients;
        return;
    }
    for (sum, gradient) in sums.iter_mut().zip(gradients) {
        add(sum, &gradient);
    }
}

pub(super) fn add(sum: &mut [f32], values: &[f32]) {
    wide::replace_pairs(sum, values, |sum, value| sum + value);
}
