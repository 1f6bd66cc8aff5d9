//! Stored numbers of every element type.

use crate::error::{Error, ErrorKind, Result};
use half::{bf16, f16};
use safetensors::Dtype;

/// The numbers of tensor `name`, whose elements of type `dtype` are `bytes`, lowest byte first.
///
/// # Errors
/// A type that is no real number.
pub(super) fn decoded(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    match dtype {
        Dtype::F32 => Ok(numbers(bytes, f32::from_le_bytes)),
        Dtype::F16 => Ok(numbers(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Ok(numbers(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F64 => Ok(numbers(bytes, |b| f64::from_le_bytes(b) as f32)),
        _ => {
            let message = format!("tensor '{name}' is of type {dtype:?}; fgq reads F32, F16, BF16 and F64");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
}
