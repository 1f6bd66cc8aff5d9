//! Operators whose results are known before the network runs.

use super::{OperatorRow, constant};
use crate::error::Result;
use crate::source::onnx::context::{Context, Lowered, Value};
use crate::source::onnx::decode::{decode, extents};
use crate::source::onnx::tensor::{Data, Tensor, element_count};
use crate::source::onnx::tensor_math::{MAX_ELEMENTS, check_size};
use crate::source::onnx::{malformed, unsupported};

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("Constant", stored),
    ("ConstantOfShape", constant_of_shape),
    ("Range", range),
    ("Shape", shape),
    ("Size", |cx| {
        let count = element_count(&dims(cx)?)?;
        constant(Tensor::new(Vec::new(), Data::Int(vec![count as i64]))?)
    }),
];

fn stored(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    if let Some(tensor) = cx.attributes.tensor("value")? {
        return constant(decode(tensor, cx.folder)?);
    }
    if let Some(value) = cx.attributes.float("value_float")? {
        return constant(Tensor::new(Vec::new(), Data::Float(vec![value]))?);
    }
    if let Some(value) = cx.attributes.int("value_int")? {
        return constant(Tensor::new(Vec::new(), Data::Int(vec![value]))?);
    }
    if let Some(values) = cx.attributes.floats("value_floats")? {
        return constant(Tensor::new(vec![values.len()], Data::Float(values))?);
    }
    if let Some(values) = cx.attributes.ints("value_ints")? {
        return constant(Tensor::of_ints(values));
    }
    Err(unsupported("a constant that is neither dense nor a number").into())
}

fn constant_of_shape(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let value = match cx.attributes.tensor("value")? {
        Some(tensor) => decode(tensor, cx.folder)?,
        None => Tensor::new(vec![1], Data::Float(vec![0.0]))?,
    };
    let dims = extents(cx.constant(0)?.ints()?)?;
    check_size(&dims, 0)?;
    constant(value.reshaped(Vec::new())?.broadcast(&dims)?)
}

fn dims(cx: &Context<'_>) -> Lowered<Vec<usize>> {
    match cx.value(0)? {
        Value::Constant(tensor) => Ok(tensor.dims.clone()),
        Value::Activation(activation) | Value::Scores(activation) => Ok(activation.dims()),
        Value::Unknown => Ok(Vec::new()),
    }
}

fn shape(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let start = cx.attributes.int("start")?.unwrap_or(0);
    let end = cx.attributes.int("end")?.unwrap_or(i64::MAX);
    let dims = dims(cx)?;
    let rank = dims.len() as i64;
    let place =
        |value: i64| if value < 0 { value.saturating_add(rank) } else { value }.clamp(0, rank) as usize;
    let (start, end) = (place(start), place(end));
    let part = dims.get(start..end.max(start)).unwrap_or_default();
    constant(Tensor::of_ints(part.iter().map(|&extent| extent as i64).collect()))
}

fn range(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["stash_type"]);
    let [start, limit, delta] = [cx.constant(0)?, cx.constant(1)?, cx.constant(2)?];
    let data = match (&start.data, &limit.data, &delta.data) {
        (Data::Int(start), Data::Int(limit), Data::Int(delta)) => {
            Data::Int(int_range(only(start)?, only(limit)?, only(delta)?)?)
        }
        _ => Data::Float(float_range(start.float()?, limit.float()?, delta.float()?)?),
    };
    constant(Tensor::new(vec![data.len()], data)?)
}

fn only(values: &[i64]) -> Result<i64> {
    let [value] = values else { return Err(malformed("a range between lists")) };
    Ok(*value)
}

fn int_range(start: i64, limit: i64, delta: i64) -> Result<Vec<i64>> {
    let span = i128::from(limit) - i128::from(start);
    let count = match delta {
        0 => return Err(malformed("a range with steps of 0")),
        delta => (span + i128::from(delta) - i128::from(delta.signum())) / i128::from(delta),
    };
    let count = bounded(count as f64)?;
    Ok((0..count as i64).map(|index| start.wrapping_add(index.wrapping_mul(delta))).collect())
}

fn float_range(start: f32, limit: f32, delta: f32) -> Result<Vec<f32>> {
    let count = bounded((f64::from(limit - start) / f64::from(delta)).ceil())?;
    Ok((0..count).map(|index| start + index as f32 * delta).collect())
}

fn bounded(count: f64) -> Result<usize> {
    if count.is_nan() || count > MAX_ELEMENTS as f64 {
        return Err(malformed(format!("a range of {count} numbers")));
    }
    Ok(count.max(0.0) as usize)
}
