//! Functions of one number.

use super::{OperatorRow, activation, constant};
use crate::graph::{Affine, Binary, Op, Unary};
use crate::source::onnx::context::{Context, Lowered, Value};
use crate::source::onnx::{malformed, unsupported};

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("Abs", |cx| fold_or_apply(cx, f32::abs, Unary::Abs)),
    ("Ceil", |cx| fold(cx, f32::ceil)),
    ("Clip", clip),
    ("Elu", |cx| {
        let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
        apply(cx, Unary::Elu(alpha))
    }),
    ("Erf", |cx| apply(cx, Unary::Erf)),
    ("Exp", |cx| fold_or_apply(cx, f32::exp, Unary::Exp)),
    ("Floor", |cx| fold(cx, f32::floor)),
    ("Gelu", gelu),
    ("HardSigmoid", |cx| {
        let alpha = cx.attributes.float("alpha")?.unwrap_or(0.2);
        let beta = cx.attributes.float("beta")?.unwrap_or(0.5);
        apply(cx, Unary::HardSigmoid(alpha, beta))
    }),
    ("HardSwish", |cx| apply(cx, Unary::HardSwish)),
    ("LeakyRelu", |cx| {
        let alpha = cx.attributes.float("alpha")?.unwrap_or(0.01);
        apply(cx, Unary::LeakyRelu(alpha))
    }),
    ("Log", |cx| fold_or_apply(cx, f32::ln, Unary::Log)),
    ("Mish", mish),
    ("Neg", negate),
    ("Reciprocal", |cx| fold_or_apply(cx, f32::recip, Unary::Reciprocal)),
    ("Relu", |cx| apply(cx, Unary::Relu)),
    ("Round", |cx| fold(cx, f32::round_ties_even)),
    ("Sigmoid", |cx| apply(cx, Unary::Sigmoid)),
    ("Softplus", |cx| apply(cx, Unary::Softplus)),
    ("Sqrt", |cx| fold_or_apply(cx, f32::sqrt, Unary::Sqrt)),
    ("Swish", swish),
    ("Tanh", |cx| apply(cx, Unary::Tanh)),
];

fn apply(cx: &mut Context<'_>, function: Unary) -> Lowered<Vec<Value>> {
    let input = cx.activation(0)?;
    activation(cx.elementwise(Op::Unary(function), &input)?)
}

fn fold(cx: &mut Context<'_>, function: fn(f32) -> f32) -> Lowered<Vec<Value>> {
    constant(cx.constant(0)?.map(function)?)
}

fn fold_or_apply(cx: &mut Context<'_>, number: fn(f32) -> f32, function: Unary) -> Lowered<Vec<Value>> {
    if cx.all_constant()? { fold(cx, number) } else { apply(cx, function) }
}

fn gelu(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let kind = cx.attributes.string("approximate")?;
    match kind.as_deref() {
        None | Some("none") => apply(cx, Unary::Gelu),
        Some("tanh") => apply(cx, Unary::GeluTanh),
        Some(other) => Err(malformed(format!("Gelu approximated by '{other}'")).into()),
    }
}

fn negate(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if !cx.all_constant()? {
        let input = cx.activation(0)?;
        let affine = Affine { scale: vec![-1.0], shift: vec![0.0] };
        return activation(cx.elementwise(Op::Affine(affine), &input)?);
    }
    let tensor = cx.constant(0)?;
    let minus = crate::source::onnx::tensor_math::Arithmetic { float: |a, b| a - b, int: i64::checked_sub };
    constant(tensor.combine(&tensor, minus)?.combine(&tensor, minus)?)
}

/// `x·tanh(softplus(x))`.
fn mish(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let input = cx.activation(0)?;
    let softplus = cx.emit_part("softplus", Op::Unary(Unary::Softplus), vec![input.node])?;
    let tanh = cx.emit_part("tanh", Op::Unary(Unary::Tanh), vec![softplus])?;
    activation(input.of(cx.emit(Op::Binary(Binary::Mul), vec![input.node, tanh])?))
}

/// `x·sigmoid(alpha·x)`.
fn swish(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
    if alpha == 1.0 {
        return apply(cx, Unary::Silu);
    }
    let input = cx.activation(0)?;
    let affine = Affine { scale: vec![alpha], shift: vec![0.0] };
    let scaled = cx.emit_part("scale", Op::Affine(affine), vec![input.node])?;
    let sigmoid = cx.emit_part("sigmoid", Op::Unary(Unary::Sigmoid), vec![scaled])?;
    activation(input.of(cx.emit(Op::Binary(Binary::Mul), vec![input.node, sigmoid])?))
}

fn clip(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let low = bound(cx, "min", 1)?.unwrap_or(f32::NEG_INFINITY);
    let high = bound(cx, "max", 2)?.unwrap_or(f32::INFINITY);
    if low.is_nan() || high.is_nan() {
        return Err(unsupported("a bound that is not a number; export the model again").into());
    }
    match (low, high) {
        (f32::NEG_INFINITY, f32::INFINITY) => Ok(vec![cx.value(0)?.clone()]),
        (0.0, f32::INFINITY) => apply(cx, Unary::Relu),
        _ => apply(cx, Unary::Clip(low, high)),
    }
}

/// A bound that operator set 11 moved from an attribute to an input.
fn bound(cx: &mut Context<'_>, attribute: &str, index: usize) -> Lowered<Option<f32>> {
    if let Some(value) = cx.attributes.float(attribute)? {
        return Ok(Some(value));
    }
    Ok(cx.optional_constant(index)?.map(|tensor| tensor.float()).transpose()?)
}
