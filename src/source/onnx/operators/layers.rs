//! Layers with weights.

use super::arithmetic::per_channel;
use super::window;
use super::{OperatorRow, activation};
use crate::graph::{BatchNorm, Conv, NodeId, Op};
use crate::source::onnx::context::{Context, Lowered, Stop, Value, shape};
use crate::source::onnx::tensor::Tensor;
use crate::source::onnx::view::{Activation, Axis, FLAT, IMAGE, Role};
use crate::source::onnx::{malformed, misshapen, unsupported};
use crate::tensor::{Shape, Window};
use ndarray::Array4;

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("BatchNormalization", batch_normalization),
    ("Conv", convolution),
    ("Gemm", gemm),
    ("MatMul", matrix_product),
    ("PRelu", parametric_relu),
];

fn convolution(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let windowing = window::read(cx)?;
    let groups = positive(cx.attributes.int("group")?.unwrap_or(1))?;
    let input = cx.image(0)?;
    let weights = cx.weights(1)?;
    let dims = kernel_dims(&weights)?;
    let [outputs, inputs, rows, columns] = dims;
    if inputs.checked_mul(groups) != Some(input.shape.channels) || outputs == 0 || outputs % groups != 0 {
        let message = format!("weights of {dims:?} in {groups} groups for {} channels", input.shape.channels);
        return Err(misshapen(message).into());
    }
    let bias = if cx.has(2) { cx.per_channel_weights(2, outputs)? } else { vec![0.0; outputs] };
    let (window, [height, width]) = windowing.over(input.shape, Some([rows, columns]))?;
    let weight = Array4::from_shape_vec(dims, weights.floats()?.to_vec())
        .map_err(|e| misshapen("weights").because(e))?;
    let conv = Conv { weight, gain: vec![1.0; outputs], bias, window, groups };
    let shape = shape([outputs, height, width])?;
    let node = cx.emit(Op::Conv(conv), vec![input.node])?;
    activation(Activation::new(node, shape, input.batch(), &IMAGE))
}

fn positive(value: i64) -> Lowered<usize> {
    let positive = usize::try_from(value).ok().filter(|&value| value > 0);
    positive.ok_or_else(|| malformed(format!("{value} groups")).into())
}

fn kernel_dims(weights: &Tensor) -> Lowered<[usize; 4]> {
    <[usize; 4]>::try_from(weights.dims.as_slice()).map_err(|_| {
        let axes = weights.dims.len().saturating_sub(2);
        unsupported(format!("a convolution over {axes} spatial axes; fgq has those over two")).into()
    })
}

/// `alpha·A·B + beta·C` with constant B and C.
fn gemm(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = cx.attributes.float("beta")?.unwrap_or(1.0);
    let transposed = cx.attributes.flag("transB")?;
    if cx.attributes.flag("transA")? {
        return Err(unsupported("transA = 1; export the layer as Linear or MatMul").into());
    }
    let input = cx.activation(0)?;
    if input.axes.len() != 2 {
        return Err(misshapen(format!("a matrix of extents {:?}", input.dims())).into());
    }
    let input = cx.flat(&input)?;
    let weights = matrix(cx, 1, transposed)?;
    let outputs = weights.dims[0];
    let bias = if cx.has(2) { gemm_bias(cx, outputs)? } else { vec![0.0; outputs] };
    let bias = bias.iter().map(|value| beta * value).collect();
    let node = fully_connected(cx, &input, &weights, alpha, bias)?;
    activation(Activation::new(node, Shape::flat(outputs), input.batch(), &FLAT))
}

fn gemm_bias(cx: &Context<'_>, outputs: usize) -> Lowered<Vec<f32>> {
    let tensor = cx.weights(2)?;
    match tensor.floats()? {
        [value] => Ok(vec![*value; outputs]),
        values if values.len() == outputs && tensor.dims.last() == Some(&outputs) => Ok(values.to_vec()),
        _ => Err(misshapen(format!("a bias of extents {:?} for {outputs} outputs", tensor.dims)).into()),
    }
}

/// `A·B` with constant B.
fn matrix_product(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let input = cx.activation(0)?;
    let extents = input.dims();
    let inner = extents.len().saturating_sub(1);
    if extents.len() < 2 || extents[1..inner].iter().any(|&extent| extent > 1) {
        return Err(unsupported(format!(
            "multiplies a tensor of extents {extents:?}; fgq has flat vectors only"
        ))
        .into());
    }
    let flat = cx.flat(&input)?;
    let weights = matrix(cx, 1, false)?;
    let outputs = weights.dims[0];
    let node = fully_connected(cx, &flat, &weights, 1.0, vec![0.0; outputs])?;
    let mut roles = vec![Role::Unit; extents.len()];
    (roles[0], roles[inner]) = (Role::Batch, Role::Channel);
    activation(Activation::new(node, Shape::flat(outputs), input.batch(), &roles))
}

/// Constant input `index` as outputs × inputs; `transposed` says that it is stored like that.
fn matrix(cx: &Context<'_>, index: usize, transposed: bool) -> Lowered<Tensor> {
    let tensor = cx.weights(index)?;
    if tensor.dims.len() != 2 || tensor.len() == 0 {
        return Err(misshapen(format!("a matrix of extents {:?}", tensor.dims)).into());
    }
    Ok(if transposed { (*tensor).clone() } else { tensor.transposed(&[1, 0])? })
}

fn fully_connected(
    cx: &mut Context<'_>,
    input: &Activation,
    weights: &Tensor,
    alpha: f32,
    bias: Vec<f32>,
) -> Lowered<NodeId> {
    let [outputs, inputs] = [weights.dims[0], weights.dims[1]];
    if inputs != input.shape.channels {
        let message = format!("weights for {inputs} features, but {} arrive", input.shape.channels);
        return Err(misshapen(message).into());
    }
    let values = weights.floats()?.iter().map(|value| alpha * value).collect();
    let weight = Array4::from_shape_vec([outputs, inputs, 1, 1], values)
        .map_err(|e| misshapen("weights").because(e))?;
    let conv = Conv { weight, gain: vec![1.0; outputs], bias, window: Window::new([1, 1]), groups: 1 };
    shape([outputs, 1, 1])?;
    cx.emit(Op::Conv(conv), vec![input.node])
}

fn batch_normalization(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["momentum"]);
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    if cx.attributes.flag("training_mode")? {
        return Err(
            unsupported("training_mode = 1; export the model in evaluation mode (model.eval())").into()
        );
    }
    let input = cx.activation(0)?;
    let roles = input.roles().ok_or_else(|| Stop::from(cx.rearranged(0)))?;
    if roles.get(1) != Some(&Role::Channel) || matches!(input.axes[1], Axis::Batch(_)) {
        return Err(cx.rearranged(0).into());
    }
    let channels = input.shape.channels;
    let [gamma, beta, mean, variance] = [
        cx.per_channel_weights(1, channels)?,
        cx.per_channel_weights(2, channels)?,
        cx.per_channel_weights(3, channels)?,
        cx.per_channel_weights(4, channels)?,
    ];
    if let Some(channel) = variance.iter().position(|&value| value + epsilon <= 0.0) {
        let name = cx.tensor_name(4);
        return Err(
            malformed(format!("variance '{name}' is {} at index [{channel}]", variance[channel])).into()
        );
    }
    let norm = BatchNorm { gamma, beta, mean, variance, epsilon };
    activation(cx.elementwise(Op::BatchNorm(norm), &input)?)
}

fn parametric_relu(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let input = cx.activation(0)?;
    let slopes = per_channel(cx, 1, &input)?;
    activation(cx.elementwise(Op::PRelu(slopes), &input)?)
}
