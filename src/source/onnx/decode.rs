//! Stored tensors of every element type, in every place that ONNX keeps them.

use super::tensor::{Data, Tensor, element_count};
use super::{external, malformed, unsupported};
use crate::error::{Error, Result};
use crate::proto::TensorProto;
use crate::proto::tensor_proto::{DataLocation, DataType};
use half::{bf16, f16};
use std::path::Path;

/// The tensor that `proto` stores; `folder` is where external data lies.
pub(super) fn decode(mut proto: TensorProto, folder: &Path) -> Result<Tensor> {
    let name = proto.name.take().unwrap_or_default();
    decode_unnamed(proto, folder).map_err(|error| {
        let message = format!("tensor '{name}': {error}");
        Error::new(error.kind(), message).because(error)
    })
}

fn decode_unnamed(mut proto: TensorProto, folder: &Path) -> Result<Tensor> {
    if proto.segment.is_some() {
        return Err(unsupported("stored in segments; save the model again with the onnx package"));
    }
    let dims = extents(&proto.dims)?;
    let count = element_count(&dims)?;
    let kind = element_type(&proto)?;
    if proto.data_location() == DataLocation::External {
        let bytes = count.checked_mul(width(kind)).ok_or_else(|| malformed("too large"))?;
        proto.raw_data = Some(external::read(&proto.external_data, folder, bytes)?);
    }
    Tensor::new(dims, elements(proto, kind, count)?)
}

/// Extents as unsigned numbers.
pub(super) fn extents(dims: &[i64]) -> Result<Vec<usize>> {
    let extent = |&dim| usize::try_from(dim).map_err(|_| malformed(format!("an extent of {dim}")));
    dims.iter().map(extent).collect()
}

fn element_type(proto: &TensorProto) -> Result<DataType> {
    DataType::try_from(proto.data_type.unwrap_or_default())
        .map_err(|error| malformed("unknown element type").because(error))
}

/// Bytes of one element where it is stored raw; 0 for types that are refused anyway.
fn width(kind: DataType) -> usize {
    match kind {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        _ => 0,
    }
}

fn elements(proto: TensorProto, kind: DataType, count: usize) -> Result<Data> {
    let raw = proto.raw_data.as_deref().filter(|bytes| !bytes.is_empty());
    Ok(match (kind, raw) {
        (DataType::Float, Some(raw)) => Data::Float(from_raw(raw, count, f32::from_le_bytes)?),
        (DataType::Float, None) => Data::Float(proto.float_data),
        (DataType::Double, Some(raw)) => Data::Float(from_raw(raw, count, |b| f64::from_le_bytes(b) as f32)?),
        (DataType::Double, None) => Data::Float(proto.double_data.iter().map(|&v| v as f32).collect()),
        (DataType::Float16, Some(raw)) => {
            Data::Float(from_raw(raw, count, |b| f16::from_le_bytes(b).to_f32())?)
        }
        (DataType::Float16, None) => {
            Data::Float(from_bits(&proto.int32_data, |b| f16::from_bits(b).to_f32())?)
        }
        (DataType::Bfloat16, Some(raw)) => {
            Data::Float(from_raw(raw, count, |b| bf16::from_le_bytes(b).to_f32())?)
        }
        (DataType::Bfloat16, None) => {
            Data::Float(from_bits(&proto.int32_data, |b| bf16::from_bits(b).to_f32())?)
        }
        (DataType::Bool, Some(raw)) => Data::Bool(from_raw(raw, count, |[byte]| byte != 0)?),
        (DataType::Bool, None) => Data::Bool(proto.int32_data.iter().map(|&v| v != 0).collect()),
        (_, Some(raw)) => Data::Int(raw_integers(raw, kind, count)?),
        (_, None) => Data::Int(typed_integers(proto, kind)?),
    })
}

fn raw_integers(raw: &[u8], kind: DataType, count: usize) -> Result<Vec<i64>> {
    match kind {
        DataType::Int8 => from_raw(raw, count, |b| i8::from_le_bytes(b).into()),
        DataType::Uint8 => from_raw(raw, count, |b| u8::from_le_bytes(b).into()),
        DataType::Int16 => from_raw(raw, count, |b| i16::from_le_bytes(b).into()),
        DataType::Uint16 => from_raw(raw, count, |b| u16::from_le_bytes(b).into()),
        DataType::Int32 => from_raw(raw, count, |b| i32::from_le_bytes(b).into()),
        DataType::Uint32 => from_raw(raw, count, |b| u32::from_le_bytes(b).into()),
        DataType::Int64 => from_raw(raw, count, i64::from_le_bytes),
        DataType::Uint64 => from_raw(raw, count, u64::from_le_bytes).and_then(signed),
        _ => Err(unsupported_type(kind)),
    }
}

fn typed_integers(proto: TensorProto, kind: DataType) -> Result<Vec<i64>> {
    match kind {
        DataType::Int64 => Ok(proto.int64_data),
        DataType::Uint32 | DataType::Uint64 => signed(proto.uint64_data),
        DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16 | DataType::Int32 => {
            Ok(proto.int32_data.into_iter().map(i64::from).collect())
        }
        _ => Err(unsupported_type(kind)),
    }
}

fn unsupported_type(kind: DataType) -> Error {
    let name = kind.as_str_name();
    unsupported(format!("elements of type {name}; give the float model (f32, f16, bf16 or f64 weights)"))
}

fn signed(values: Vec<u64>) -> Result<Vec<i64>> {
    let convert =
        |value| i64::try_from(value).map_err(|_| malformed(format!("the integer {value} is too large")));
    values.into_iter().map(convert).collect()
}

fn from_raw<const N: usize, T>(raw: &[u8], count: usize, read: fn([u8; N]) -> T) -> Result<Vec<T>> {
    let (chunks, rest) = raw.as_chunks::<N>();
    if chunks.len() != count || !rest.is_empty() {
        return Err(malformed(format!(
            "{} bytes where {count} elements of {N} bytes are required",
            raw.len()
        )));
    }
    Ok(chunks.iter().map(|&chunk| read(chunk)).collect())
}

fn from_bits(values: &[i32], read: fn(u16) -> f32) -> Result<Vec<f32>> {
    let convert =
        |&value| u16::try_from(value).map(read).map_err(|_| malformed("16-bit number out of range"));
    values.iter().map(convert).collect()
}
