//! Normalisation by an image's own mean and variance: of a layer, of groups of channels, of single channels.

use super::{OperatorRow, activation, constant};
use crate::graph::{GroupNorm, Op};
use crate::source::onnx::context::{Context, Lowered, Value, axis};
use crate::source::onnx::tensor::Tensor;
use crate::source::onnx::tensor_math::Arithmetic;
use crate::source::onnx::view::{Activation, Axis};
use crate::source::onnx::{malformed, misshapen, unsupported};
use crate::tensor::Span;

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("GroupNormalization", group_normalization),
    ("InstanceNormalization", instance_normalization),
    ("LayerNormalization", layer_normalization),
];

/// Over the axes from `axis` on.
fn layer_normalization(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["stash_type"]);
    let given = cx.attributes.int("axis")?.unwrap_or(-1);
    let epsilon = epsilon(cx)?;
    if let Value::Constant(tensor) = cx.value(0)? {
        let axes: Vec<usize> = (axis(given, tensor.dims.len())?..tensor.dims.len()).collect();
        return with_factors(cx, tensor.normalised(&axes, epsilon)?);
    }
    let input = cx.activation(0)?;
    let first = axis(given, input.axes.len())?;
    let span = span_of(&input, first)
        .ok_or_else(|| unsupported("normalises axes that are neither the channels nor a whole image"))?;
    let gamma = factors(cx, 1, &input, first, 1.0)?;
    let beta = factors(cx, 2, &input, first, 0.0)?;
    activation(cx.elementwise(Op::GroupNorm(GroupNorm { groups: 1, span, gamma, beta, epsilon }), &input)?)
}

/// What a layer is whose axes begin with `first`.
fn span_of(input: &Activation, first: usize) -> Option<Span> {
    let (before, normalised) = input.axes.split_at(first.max(1));
    let whole = |axes: &[Axis]| axes.iter().map(|axis| axis.extent()).product::<usize>() == input.shape.len();
    let in_order = input.is_batch_first() && input.is_contiguous();
    if first > 0 && in_order && before[1..].iter().all(|axis| axis.extent() == 1) && whole(normalised) {
        return Some(if input.shape.positions() == 1 { Span::Position } else { Span::Image });
    }
    (first > 0 && first + 1 == input.axes.len() && input.ends_with_channels()).then_some(Span::Position)
}

/// Input `index`, which has the extents of the axes from `first` on, as one number per channel.
fn factors(
    cx: &Context<'_>,
    index: usize,
    input: &Activation,
    first: usize,
    default: f32,
) -> Lowered<Vec<f32>> {
    let channels = input.shape.channels;
    if !cx.has(index) {
        return Ok(vec![default; channels]);
    }
    let tensor = cx.weights(index)?;
    let values = tensor.floats()?;
    let extents: Vec<usize> = input.axes[first..].iter().map(|axis| axis.extent()).collect();
    if values.len() != extents.iter().product::<usize>() || values.is_empty() {
        let message = format!("factors of extents {:?} for axes of {extents:?}", tensor.dims);
        return Err(misshapen(message).into());
    }
    let per_channel: Vec<&[f32]> = values.chunks_exact(values.len() / channels.min(values.len())).collect();
    if per_channel.iter().any(|own| own.iter().any(|value| *value != own[0])) {
        let name = cx.tensor_name(index);
        return Err(unsupported(format!(
            "constant '{name}' varies over rows or columns; fgq has factors per channel"
        ))
        .into());
    }
    Ok(per_channel.iter().map(|own| own[0]).collect())
}

/// Over groups of channels and all positions.
fn group_normalization(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["stash_type"]);
    let groups = cx.attributes.int("num_groups")?.ok_or_else(|| malformed("num_groups is missing"))?;
    let groups = usize::try_from(groups).map_err(|_| malformed(format!("{groups} groups")))?;
    let epsilon = epsilon(cx)?;
    let input = cx.image(0)?;
    by_groups(cx, &input, groups, epsilon)
}

/// Over all positions of each index of the second axis, which is that of the channels or of groups of them.
fn instance_normalization(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let epsilon = epsilon(cx)?;
    if let Value::Constant(tensor) = cx.value(0)? {
        let axes: Vec<usize> = (2..tensor.dims.len()).collect();
        let normalised = tensor.normalised(&axes, epsilon)?;
        return constant(normalised.affine_along(1, &*cx.constant(1)?, &*cx.constant(2)?)?);
    }
    let input = cx.activation(0)?;
    let groups = input.dims().get(1).copied().unwrap_or(0);
    if !input.is_batch_first() || !input.is_contiguous() || groups == 0 {
        return Err(cx.rearranged(0).into());
    }
    by_groups(cx, &input, groups, epsilon)
}

fn by_groups(cx: &mut Context<'_>, input: &Activation, groups: usize, epsilon: f32) -> Lowered<Vec<Value>> {
    let channels = input.shape.channels;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(misshapen(format!("{channels} channels in {groups} groups")).into());
    }
    let gamma = spread(cx, 1, channels, groups)?;
    let beta = spread(cx, 2, channels, groups)?;
    let norm = GroupNorm { groups, span: Span::Image, gamma, beta, epsilon };
    activation(cx.elementwise(Op::GroupNorm(norm), input)?)
}

/// Input `index`, one number per channel or per group, as one per channel.
fn spread(cx: &Context<'_>, index: usize, channels: usize, groups: usize) -> Lowered<Vec<f32>> {
    if cx.weights(index)?.len() == channels {
        return cx.per_channel_weights(index, channels);
    }
    let values = cx.per_channel_weights(index, groups)?;
    Ok(values.iter().flat_map(|&value| std::iter::repeat_n(value, channels / groups)).collect())
}

fn epsilon(cx: &mut Context<'_>) -> Lowered<f32> {
    let epsilon = cx.attributes.float("epsilon")?.unwrap_or(1e-5);
    if !(epsilon.is_finite() && epsilon > 0.0) {
        return Err(unsupported(format!("an epsilon of {epsilon}; it has to be positive")).into());
    }
    Ok(epsilon)
}

/// A normalised constant with its factors, which broadcast from the last axis on.
fn with_factors(cx: &Context<'_>, mut normalised: Tensor) -> Lowered<Vec<Value>> {
    for (index, arithmetic) in [(1, Arithmetic::MUL), (2, Arithmetic::ADD)] {
        if let Some(factor) = cx.optional_constant(index)? {
            normalised = normalised.combine(&factor, arithmetic)?;
        }
    }
    constant(normalised)
}
