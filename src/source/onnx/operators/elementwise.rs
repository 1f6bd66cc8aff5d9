//! Functions of one number.

use super::{OperatorRow, activation, constant};
use crate::graph::{Affine, Binary, Op, Unary};
use crate::source::onnx::context::{Context, Lowered, Value};
use crate::source::onnx::tensor::{Data, Tensor};
use crate::source::onnx::tensor_math::Arithmetic;
use crate::source::onnx::{malformed, unsupported};

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("Abs", |cx| apply(cx, Unary::Abs)),
    ("Ceil", |cx| fold(cx, f32::ceil)),
    ("Clip", clip),
    ("Cos", |cx| fold(cx, f32::cos)),
    ("Elu", |cx| {
        let alpha = cx.attributes.float("alpha")?.unwrap_or(1.0);
        apply(cx, Unary::Elu(alpha))
    }),
    ("Erf", |cx| apply(cx, Unary::Erf)),
    ("Exp", |cx| apply(cx, Unary::Exp)),
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
    ("Log", |cx| apply(cx, Unary::Log)),
    ("Mish", mish),
    ("Neg", negate),
    ("Not", |cx| {
        let tensor = cx.constant(0)?;
        let values = tensor.bools()?.iter().map(|&value| !value).collect();
        constant(Tensor::new(tensor.dims.clone(), Data::Bool(values))?)
    }),
    ("Reciprocal", |cx| apply(cx, Unary::Reciprocal)),
    ("Relu", |cx| apply(cx, Unary::Relu)),
    ("Round", |cx| fold(cx, f32::round_ties_even)),
    ("Sign", |cx| fold(cx, |x| if x == 0.0 { 0.0 } else { x.signum() })),
    ("Sin", |cx| fold(cx, f32::sin)),
    ("Sigmoid", |cx| apply(cx, Unary::Sigmoid)),
    ("Softplus", |cx| apply(cx, Unary::Softplus)),
    ("Sqrt", |cx| apply(cx, Unary::Sqrt)),
    ("Swish", swish),
    ("Tanh", |cx| apply(cx, Unary::Tanh)),
];

fn apply(cx: &mut Context<'_>, function: Unary) -> Lowered<Vec<Value>> {
    if cx.all_constant()? {
        return constant(cx.constant(0)?.map(|x| function.apply(x))?);
    }
    let input = cx.activation(0)?;
    activation(cx.elementwise(Op::Unary(function), &input)?)
}

fn fold(cx: &Context<'_>, function: impl Fn(f32) -> f32) -> Lowered<Vec<Value>> {
    constant(cx.constant(0)?.map(function)?)
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
    let zero = tensor.combine(&tensor, Arithmetic::SUB)?;
    constant(zero.combine(&tensor, Arithmetic::SUB)?)
}

/// `x·tanh(softplus(x))`.
fn mish(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if cx.all_constant()? {
        return fold(cx, |x| x * Unary::Softplus.apply(x).tanh());
    }
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
    if cx.all_constant()? {
        return fold(cx, |x| x * Unary::Sigmoid.apply(alpha * x));
    }
    let input = cx.activation(0)?;
    let affine = Affine { scale: vec![alpha], shift: vec![0.0] };
    let scaled = cx.emit_part("scale", Op::Affine(affine), vec![input.node])?;
    let sigmoid = cx.emit_part("sigmoid", Op::Unary(Unary::Sigmoid), vec![scaled])?;
    activation(input.of(cx.emit(Op::Binary(Binary::Mul), vec![input.node, sigmoid])?))
}

fn clip(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if cx.inputs.len() > 1 && cx.all_constant()? {
        return clipped(cx);
    }
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

/// Constants of any type between constant bounds.
fn clipped(cx: &Context<'_>) -> Lowered<Vec<Value>> {
    let mut tensor = (*cx.constant(0)?).clone();
    for (index, arithmetic) in [(1, Arithmetic::MAX), (2, Arithmetic::MIN)] {
        if let Some(bound) = cx.optional_constant(index)? {
            tensor = tensor.combine(&bound, arithmetic)?;
        }
    }
    constant(tensor)
}

/// A bound that operator set 11 moved from an attribute to an input.
fn bound(cx: &mut Context<'_>, attribute: &str, index: usize) -> Lowered<Option<f32>> {
    if let Some(value) = cx.attributes.float(attribute)? {
        return Ok(Some(value));
    }
    Ok(cx.optional_constant(index)?.map(|tensor| tensor.float()).transpose()?)
}
