//! Arithmetic on two tensors, constants included.

use super::{OperatorRow, activation, constant};
use crate::error::{Error, ErrorKind};
use crate::graph::{Affine, Binary, Op, Unary};
use crate::source::onnx::context::{Context, Lowered, Value, shape};
use crate::source::onnx::tensor::{Tensor, unravel};
use crate::source::onnx::tensor_math::{Arithmetic, broadcast_dims};
use crate::source::onnx::view::{Activation, Role, extents};
use crate::source::onnx::{misshapen, unsupported};

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("Add", |cx| combine(cx, Binary::Add, Arithmetic::ADD)),
    ("Div", |cx| combine(cx, Binary::Div, Arithmetic::DIV)),
    ("And", |cx| compare(cx, |a, b| a != 0.0 && b != 0.0)),
    ("Equal", |cx| compare(cx, |a, b| a == b)),
    ("Greater", |cx| compare(cx, |a, b| a > b)),
    ("GreaterOrEqual", |cx| compare(cx, |a, b| a >= b)),
    ("Less", |cx| compare(cx, |a, b| a < b)),
    ("LessOrEqual", |cx| compare(cx, |a, b| a <= b)),
    ("Max", |cx| bound(cx, Arithmetic::MAX, |value| Unary::Clip(value, f32::INFINITY))),
    ("Min", |cx| bound(cx, Arithmetic::MIN, |value| Unary::Clip(f32::NEG_INFINITY, value))),
    ("Mul", |cx| combine(cx, Binary::Mul, Arithmetic::MUL)),
    ("Mod", remainder),
    ("Or", |cx| compare(cx, |a, b| a != 0.0 || b != 0.0)),
    ("Pow", power),
    ("Sub", |cx| combine(cx, Binary::Sub, Arithmetic::SUB)),
    ("Sum", sum),
    ("Where", |cx| constant(cx.constant(0)?.choose(&*cx.constant(1)?, &*cx.constant(2)?)?)),
];

fn compare(cx: &mut Context<'_>, holds: fn(f64, f64) -> bool) -> Lowered<Vec<Value>> {
    constant(cx.constant(0)?.compare(&*cx.constant(1)?, holds)?)
}

/// The remainder of constants, which has the sign of the divisor, or with `fmod` that of the dividend.
fn remainder(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let truncated = Arithmetic { float: |a, b| a % b, int: i64::checked_rem };
    let floored = Arithmetic {
        float: |a, b| a - b * (a / b).floor(),
        int: |a, b| {
            a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        },
    };
    let arithmetic = if cx.attributes.flag("fmod")? { truncated } else { floored };
    constant(cx.constant(0)?.combine(&*cx.constant(1)?, arithmetic)?)
}

fn combine(cx: &mut Context<'_>, operator: Binary, arithmetic: Arithmetic) -> Lowered<Vec<Value>> {
    let is_constant = |value: &Value| matches!(value, Value::Constant(_));
    match (is_constant(cx.value(0)?), is_constant(cx.value(1)?)) {
        (true, true) => constant(cx.constant(0)?.combine(&*cx.constant(1)?, arithmetic)?),
        (false, true) => with_constant(cx, operator),
        (true, false) => constant_first(cx, operator),
        (false, false) => {
            let (a, b) = (cx.activation(0)?, cx.activation(1)?);
            activation(join(cx, operator, &a, &b)?)
        }
    }
}

/// `x operator constant`.
fn with_constant(cx: &mut Context<'_>, operator: Binary) -> Lowered<Vec<Value>> {
    let input = cx.activation(0)?;
    let values = per_channel(cx, 1, &input)?;
    let affine = match operator {
        Binary::Add => shifting(1.0, values),
        Binary::Sub => shifting(1.0, values.iter().map(|value| -value).collect()),
        Binary::Mul => scaling(values),
        Binary::Div => scaling(reciprocals(&values, cx.tensor_name(1))?),
    };
    activation(cx.elementwise(Op::Affine(affine), &input)?)
}

/// `constant operator x`.
fn constant_first(cx: &mut Context<'_>, operator: Binary) -> Lowered<Vec<Value>> {
    let mut input = cx.activation(1)?;
    let values = per_channel(cx, 0, &input)?;
    let affine = match operator {
        Binary::Add => shifting(1.0, values),
        Binary::Sub => shifting(-1.0, values),
        Binary::Mul => scaling(values),
        Binary::Div => {
            input = input.of(cx.emit_part("reciprocal", Op::Unary(Unary::Reciprocal), vec![input.node])?);
            scaling(values)
        }
    };
    activation(cx.elementwise(Op::Affine(affine), &input)?)
}

fn shifting(scale: f32, shift: Vec<f32>) -> Affine {
    Affine { scale: vec![scale; shift.len()], shift }
}

fn scaling(scale: Vec<f32>) -> Affine {
    Affine { shift: vec![0.0; scale.len()], scale }
}

fn reciprocals(values: &[f32], name: &str) -> Lowered<Vec<f32>> {
    let reciprocals: Vec<_> = values.iter().map(|value| value.recip()).collect();
    if reciprocals.iter().all(|value| value.is_finite()) {
        return Ok(reciprocals);
    }
    Err(Error::new(
        ErrorKind::NonFinite,
        format!("divides by zero: constant '{name}'; export the model again"),
    )
    .into())
}

/// Constant input `index` as one number for all channels of `activation`, or one per channel.
pub(super) fn per_channel(cx: &Context<'_>, index: usize, activation: &Activation) -> Lowered<Vec<f32>> {
    let tensor = cx.weights(index)?;
    if let ([value], true) = (tensor.floats()?, tensor.dims.len() <= activation.axes.len()) {
        return Ok(vec![*value]);
    }
    let roles = activation.roles().ok_or_else(|| cx.rearranged(1 - index.min(1)))?;
    let name = cx.tensor_name(index);
    let channel = channel_axis(&tensor, activation, &roles).map_err(|problem| {
        let (dims, own) = (&tensor.dims, activation.dims());
        unsupported(format!("constant '{name}' of extents {dims:?} {problem} the tensor of extents {own:?}"))
    })?;
    spread(&tensor, channel, activation.shape.channels).ok_or_else(|| {
        let advice = "fgq has constants per channel or for the whole tensor";
        unsupported(format!(
            "constant '{name}' of extents {:?} varies over rows or columns; {advice}",
            tensor.dims
        ))
        .into()
    })
}

/// The axis of `tensor` that runs over channels, if it has one.
fn channel_axis(
    tensor: &Tensor,
    activation: &Activation,
    roles: &[Role],
) -> Result<Option<usize>, &'static str> {
    let dims = activation.dims();
    let lead = dims.len().checked_sub(tensor.dims.len()).ok_or("has more axes than")?;
    if tensor.dims.iter().zip(&dims[lead..]).any(|(&own, &extent)| own != 1 && own != extent) {
        return Err("does not fit");
    }
    Ok((0..tensor.dims.len()).find(|&axis| roles[lead + axis] == Role::Channel && tensor.dims[axis] > 1))
}

/// The value of every channel (or the one value), if `tensor` varies along the axis `channel` only.
fn spread(tensor: &Tensor, channel: Option<usize>, channels: usize) -> Option<Vec<f32>> {
    let values = tensor.floats().ok()?;
    let mut found = vec![None; if channel.is_some() { channels } else { 1 }];
    for (place, &value) in values.iter().enumerate() {
        let index = channel.map_or(0, |axis| unravel(place, &tensor.dims)[axis]);
        if *found.get_mut(index)?.get_or_insert(value) != value {
            return None;
        }
    }
    found.into_iter().collect()
}

/// `a operator b`, broadcasting extents of 1.
pub(super) fn join(
    cx: &mut Context<'_>,
    operator: Binary,
    a: &Activation,
    b: &Activation,
) -> Lowered<Activation> {
    let op = Op::Binary(operator);
    if a.axes == b.axes && a.shape == b.shape {
        return Ok(a.of(cx.emit(op, vec![a.node, b.node])?));
    }
    let dims = broadcast_dims(&a.dims(), &b.dims())?;
    let (a, b) = (a.unrepeated(), b.unrepeated());
    let result = match cut_alike(&a, &b) {
        Some((a, b, parts)) => broadcast(cx, op, &a, &b)?.with_channels_cut(&parts),
        None => Some(broadcast(cx, op, &a, &b)?),
    };
    // Where both repeated their elements, the result does too.
    result.map(|result| result.repeated(&dims)).ok_or_else(|| cx.rearranged(0).into())
}

/// Two views that cut their channels into the same parts, with these put together, and the parts.
fn cut_alike(a: &Activation, b: &Activation) -> Option<(Activation, Activation, Vec<usize>)> {
    let (own, other) = (a.channel_axes()?, b.channel_axes()?);
    let parts: Vec<usize> = a.axes[own.clone()].iter().map(|axis| axis.extent()).collect();
    let same = own == other && b.axes[other].iter().map(|axis| axis.extent()).eq(parts.iter().copied());
    if !same || parts.len() < 2 {
        return None;
    }
    Some((a.with_channels_joined()?, b.with_channels_joined()?, parts))
}

fn broadcast(cx: &mut Context<'_>, op: Op, a: &Activation, b: &Activation) -> Lowered<Activation> {
    let roles = common_roles(cx, a, b)?;
    let (own, other) = (extents(a.shape), extents(b.shape));
    let shape = shape(std::array::from_fn(|axis| own[axis].max(other[axis])))?;
    let node = cx.emit(op, vec![a.node, b.node])?;
    Ok(Activation::new(node, shape, a.batch(), &roles))
}

/// The roles of the axes of `a` and `b` after broadcasting.
fn common_roles(cx: &Context<'_>, a: &Activation, b: &Activation) -> Lowered<Vec<Role>> {
    let (own, other) = (a.dims(), b.dims());
    let fits = |(&a, &b): (&usize, &usize)| a == b || a == 1 || b == 1;
    if own.len() != other.len() || !own.iter().zip(&other).all(fits) {
        return Err(misshapen(format!("tensors of extents {own:?} and {other:?} do not fit together")).into());
    }
    let own_roles = a.roles().ok_or_else(|| cx.rearranged(0))?;
    let other_roles = b.roles().ok_or_else(|| cx.rearranged(1))?;
    let mut roles: Vec<Role> = Vec::new();
    for axis in 0..own.len() {
        let role = if own[axis] == 1 && other[axis] > 1 { other_roles[axis] } else { own_roles[axis] };
        let clash = own[axis] > 1 && other[axis] > 1 && own_roles[axis] != other_roles[axis];
        let batch = (own_roles[axis] == Role::Batch) != (other_roles[axis] == Role::Batch);
        if clash || batch || (role != Role::Unit && roles.contains(&role)) {
            let message = format!(
                "combines channels of one tensor with rows or columns of another ({own:?}, {other:?})"
            );
            return Err(unsupported(message).into());
        }
        roles.push(role);
    }
    Ok(roles)
}

/// Sum of any number of tensors.
fn sum(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if cx.all_constant()? {
        return chained(cx, Arithmetic::ADD);
    }
    let mut total = cx.activation(0)?;
    for index in 1..cx.inputs.len() {
        let next = cx.activation(index)?;
        total = join(cx, Binary::Add, &total, &next)?;
    }
    activation(total)
}

/// `arithmetic` on all inputs, which are constants, one after another.
fn chained(cx: &Context<'_>, arithmetic: Arithmetic) -> Lowered<Vec<Value>> {
    let mut total = (*cx.constant(0)?).clone();
    for index in 1..cx.inputs.len() {
        total = total.combine(&*cx.constant(index)?, arithmetic)?;
    }
    constant(total)
}

/// Minimum or maximum of a tensor and one number.
fn bound(cx: &mut Context<'_>, arithmetic: Arithmetic, limit: fn(f32) -> Unary) -> Lowered<Vec<Value>> {
    if cx.all_constant()? {
        return chained(cx, arithmetic);
    }
    if cx.inputs.len() != 2 {
        return Err(unsupported("takes two inputs here, one of them a constant").into());
    }
    let (varying, fixed) = if matches!(cx.value(0)?, Value::Constant(_)) { (1, 0) } else { (0, 1) };
    let input = cx.activation(varying)?;
    let [value] = per_channel(cx, fixed, &input)?[..] else {
        return Err(unsupported("a bound per channel; fgq has one bound for the whole tensor").into());
    };
    activation(cx.elementwise(Op::Unary(limit(value)), &input)?)
}

fn power(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if cx.all_constant()? {
        let power = Arithmetic { float: f32::powf, int: |a, b| a.checked_pow(u32::try_from(b).ok()?) };
        return constant(cx.constant(0)?.combine(&*cx.constant(1)?, power)?);
    }
    let input = cx.activation(0)?;
    let exponent = cx.weights(1)?.float()?;
    activation(cx.elementwise(Op::Unary(Unary::Pow(exponent)), &input)?)
}
