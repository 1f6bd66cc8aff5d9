//! Layers with weights.

use super::arithmetic::per_channel;
use super::window;
use super::{OperatorRow, activation, constant};
use crate::graph::{BatchNorm, Conv, NodeId, Op};
use crate::source::onnx::context::{Context, Lowered, Stop, Value, shape};
use crate::source::onnx::tensor::{Data, Tensor};
use crate::source::onnx::tensor_math::Arithmetic;
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
    if matches!(cx.value(0), Ok(Value::Activation(input)) if input.axes.len() == 3) {
        return along_channels(cx);
    }
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

/// A convolution that slides over the channels of a vector, which is a layer on all of them (ECA).
fn along_channels(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let pads = cx.attributes.ints("pads")?.unwrap_or_else(|| vec![0; 2]);
    let strides = cx.attributes.ints("strides")?.unwrap_or_else(|| vec![1]);
    let dilations = cx.attributes.ints("dilations")?.unwrap_or_else(|| vec![1]);
    let groups = cx.attributes.int("group")?.unwrap_or(1);
    cx.attributes.ignore(&["kernel_shape", "auto_pad"]);
    let (input, weights) = (cx.activation(0)?, cx.weights(1)?);
    let channels = input.shape.channels;
    let [1, 1, taps] = weights.dims[..] else { return Err(one_axis(&weights).into()) };
    let vector = input.dims()[1..] == [1, channels] && input.is_batch_first() && input.shape.positions() == 1;
    let same =
        pads.iter().sum::<i64>() == taps as i64 - 1 && pads.len() == 2 && pads.iter().all(|&pad| pad >= 0);
    if !vector || !same || strides != [1] || dilations != [1] || groups != 1 {
        return Err(one_axis(&weights).into());
    }
    let bias = if cx.has(2) { vec![cx.weights(2)?.float()?; channels] } else { vec![0.0; channels] };
    let sliding = sliding(weights.floats()?, channels, pads[0] as usize)?;
    let node = fully_connected(cx, &input, &sliding, 1.0, bias)?;
    activation(input.of(node))
}

fn one_axis(weights: &Tensor) -> crate::error::Error {
    let axes = weights.dims.len().saturating_sub(2);
    unsupported(format!(
        "a convolution over {axes} spatial axes; fgq has those over two, and those of stride 1 over the channels of a vector"
    ))
}

/// The matrix that slides `kernel` over `channels` numbers with `before` zeros in front.
fn sliding(kernel: &[f32], channels: usize, before: usize) -> Lowered<Tensor> {
    crate::source::onnx::tensor_math::check_size(&[channels, channels], 0)?;
    let mut values = vec![0.0; channels * channels];
    for (output, row) in values.chunks_exact_mut(channels.max(1)).enumerate() {
        for (tap, &weight) in kernel.iter().enumerate() {
            let input = (output + tap).checked_sub(before).and_then(|input| row.get_mut(input));
            input.into_iter().for_each(|slot| *slot = weight);
        }
    }
    Ok(Tensor::new(vec![channels, channels], Data::Float(values))?)
}

fn positive(value: i64) -> Lowered<usize> {
    let positive = usize::try_from(value).ok().filter(|&value| value > 0);
    positive.ok_or_else(|| malformed(format!("{value} groups")).into())
}

fn kernel_dims(weights: &Tensor) -> Lowered<[usize; 4]> {
    <[usize; 4]>::try_from(weights.dims.as_slice()).map_err(|_| one_axis(weights).into())
}

/// `alpha·A·B + beta·C` with constant B and C.
fn gemm(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = cx.attributes.float("beta")?.unwrap_or(1.0);
    let transposed = cx.attributes.flag("transB")?;
    let first_transposed = cx.attributes.flag("transA")?;
    if cx.all_constant()? {
        return constant_gemm(cx, [alpha, beta], [first_transposed, transposed]);
    }
    if first_transposed {
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

fn constant_gemm(cx: &Context<'_>, [alpha, beta]: [f32; 2], transposed: [bool; 2]) -> Lowered<Vec<Value>> {
    let factor = |index: usize| {
        let tensor = cx.constant(index)?;
        if tensor.dims.len() != 2 {
            return Err(Stop::from(misshapen(format!("a matrix of extents {:?}", tensor.dims))));
        }
        Ok(if transposed[index] { tensor.transposed(&[1, 0])? } else { (*tensor).clone() })
    };
    let product = factor(0)?.product(&factor(1)?)?.map(|value| alpha * value)?;
    match cx.optional_constant(2)? {
        Some(bias) => constant(product.combine(&bias.map(|value| beta * value)?, Arithmetic::ADD)?),
        None => constant(product),
    }
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
    if cx.all_constant()? {
        return constant(cx.constant(0)?.product(&*cx.constant(1)?)?);
    }
    let input = cx.activation(0)?;
    let weights = matrix(cx, 1, false)?;
    let outputs = weights.dims[0];
    let input = if input.ends_with_channels() { input } else { flat_vector(cx, &input)? };
    let node = fully_connected(cx, &input, &weights, 1.0, vec![0.0; outputs])?;
    let Shape { height, width, .. } = input.shape;
    let mut result = Activation { node, shape: shape([outputs, height, width])?, ..input };
    if let Some(last) = result.axes.last_mut() {
        *last = Axis::strided(outputs, result.shape.positions());
    }
    activation(result)
}

/// The features of `input`, which are its last axis, as channels.
fn flat_vector(cx: &mut Context<'_>, input: &Activation) -> Lowered<Activation> {
    let extents = input.dims();
    let inner = extents.len().saturating_sub(1);
    if extents.len() < 2 || extents[1..inner].iter().any(|&extent| extent > 1) {
        let message =
            format!("multiplies a tensor of extents {extents:?}; fgq multiplies features, on the last axis");
        return Err(unsupported(message).into());
    }
    let flat = cx.flat(input)?;
    let mut roles = vec![Role::Unit; extents.len()];
    (roles[0], roles[inner]) = (Role::Batch, Role::Channel);
    Ok(Activation::new(flat.node, flat.shape, flat.batch(), &roles))
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
    shape([outputs, input.shape.height, input.shape.width])?;
    cx.emit(Op::Conv(conv), vec![input.node])
}

fn batch_normalization(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["momentum"]);
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    let training = cx.attributes.flag("training_mode")?;
    if cx.all_constant()? {
        return constant_batch_norm(cx, epsilon, training);
    }
    if training {
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

/// Batch normalization of a constant, as in weight standardisation.
fn constant_batch_norm(cx: &Context<'_>, epsilon: f32, training: bool) -> Lowered<Vec<Value>> {
    let (tensor, gamma, beta) = (cx.constant(0)?, cx.constant(1)?, cx.constant(2)?);
    if tensor.dims.len() < 2 {
        return Err(misshapen(format!("batch normalization of extents {:?}", tensor.dims)).into());
    }
    let normalised = if training {
        let axes: Vec<usize> = (0..tensor.dims.len()).filter(|&axis| axis != 1).collect();
        tensor.normalised(&axes, epsilon)?
    } else {
        let [mean, variance] = [cx.constant(3)?, cx.constant(4)?];
        let one = variance.map(|_| 1.0)?;
        let (scale, zero) = (variance.map(|value| 1.0 / (value + epsilon).sqrt())?, variance.map(|_| 0.0)?);
        tensor.affine_along(1, &one, &mean.map(|value| -value)?)?.affine_along(1, &scale, &zero)?
    };
    constant(normalised.affine_along(1, &gamma, &beta)?)
}

fn parametric_relu(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if cx.all_constant()? {
        let relu = Arithmetic { float: |x, slope| if x < 0.0 { slope * x } else { x }, int: |_, _| None };
        return constant(cx.constant(0)?.combine(&*cx.constant(1)?, relu)?);
    }
    let input = cx.activation(0)?;
    let slopes = per_channel(cx, 1, &input)?;
    activation(cx.elementwise(Op::PRelu(slopes), &input)?)
}
