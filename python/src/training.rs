//! Packed models taken apart for training in PyTorch, and put together again.

use crate::errors::exception;
use crate::model::Model;
use crate::network::Network;
use fgq::{Levels, Precision, Quantizer, RetrainedLayer};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The layers of a model in real numbers, a dictionary for each.
#[pyfunction]
pub fn layer_states<'py>(py: Python<'py>, model: Py<Model>) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let model = model.get().packed();
    let states = model.layer_states().map_err(exception)?;
    let range = f64::from(model.preprocess.scale.divisor());
    let pixel_units: Vec<f64> = model.preprocess.std.iter().map(|&std| f64::from(std) * range).collect();
    states
        .into_iter()
        .map(|state| {
            let row = PyDict::new(py);
            let (input, quantizer) = state.input;
            row.set_item("name", state.name)?;
            row.set_item("precision", state.precision.to_string())?;
            row.set_item("levels", range_of(state.precision))?;
            row.set_item("planes", state.precision.planes())?;
            row.set_item("group", state.precision.group())?;
            row.set_item("shape", state.shape)?;
            row.set_item("codes", PyArray1::from_vec(py, state.levels))?;
            row.set_item("scales", PyArray1::from_vec(py, state.scales))?;
            row.set_item("factors", PyArray1::from_vec(py, state.factors))?;
            row.set_item("bias", PyArray1::from_vec(py, state.bias))?;
            row.set_item("input", input.index())?;
            row.set_item("step", (quantizer.scale, quantizer.zero_point, quantizer.max))?;
            row.set_item("pixel_units", state.reads_pixels.then(|| pixel_units.clone()))?;
            Ok(row)
        })
        .collect()
}

/// The smallest and the largest level, if all whole numbers between them are levels too.
fn range_of(precision: Precision) -> Option<(i8, i8)> {
    let levels: Levels = precision.levels();
    let (low, high) = (levels.iter().next()?, levels.iter().next_back()?);
    (levels.count() == usize::from(high.abs_diff(low)) + 1).then_some((low, high))
}

/// Name, levels, and step, zero point and largest code of what is read.
type Trained<'py> = (String, PyReadonlyArray1<'py, i8>, Option<(f64, u8, u8)>);

/// A model with what training made of its layers.
#[pyfunction]
pub fn repack(
    py: Python<'_>,
    network: Py<Network>,
    model: Py<Model>,
    layers: Vec<Trained<'_>>,
) -> PyResult<Model> {
    let layers: Vec<RetrainedLayer> = layers
        .into_iter()
        .map(|(name, levels, step)| RetrainedLayer {
            name,
            levels: levels.as_array().to_vec(),
            input: step.map(|(scale, zero_point, max)| Quantizer { scale, zero_point, max }),
        })
        .collect();
    let (network, before) = (network.get(), model.get().packed());
    let packed = py.detach(|| {
        let mut packed = fgq::repack(network.graph.clone(), before, &layers)?;
        packed.provenance.options.insert("trained".into(), "PyTorch".into());
        Model::of(packed)
    });
    packed.map_err(exception)
}
