//! One tensor.

use crate::errors::exception;
use crate::pool::pool;
use fgq::TernarizeOptions;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyReadonlyArrayDyn};
use pyo3::prelude::*;

/// Codes, scales of groups, factors of output channels, relative error.
type Ternary<'py> = (Bound<'py, PyArrayDyn<i8>>, Bound<'py, PyArray2<u8>>, Bound<'py, PyArray1<f32>>, f64);

/// A tensor of weights in groups of ternary codes, by the closed form.
#[pyfunction]
#[pyo3(signature = (weights, group, scale_bits=None, threads=None))]
pub fn ternarize_tensor<'py>(
    py: Python<'py>,
    weights: PyReadonlyArrayDyn<'py, f32>,
    group: usize,
    scale_bits: Option<u8>,
    threads: Option<usize>,
) -> PyResult<Ternary<'py>> {
    let mut options = TernarizeOptions::group(group);
    if let Some(bits) = scale_bits {
        options = options.scale_bits(bits);
    }
    let (pool, view) = (pool(threads)?, weights.as_array());
    let tensor = py.detach(|| pool.install(|| fgq::ternarize_tensor(view, &options))).map_err(exception)?;
    let factors = PyArray1::from_slice(py, tensor.factors());
    let (codes, scales) = (tensor.codes().into_pyarray(py), tensor.scales().into_pyarray(py));
    Ok((codes, scales, factors, tensor.relative_error()))
}
