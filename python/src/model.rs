//! Packed models.

use crate::errors::exception;
use crate::preprocess::Preprocess;
use crate::session::Session;
use fgq::{Conversion, Fidelity, Judgement, Layer, PackedModel, Report, Summary};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;

/// A packed model: everything that its file holds.
#[pyclass(frozen, module = "fgq._fgq")]
pub struct Model {
    model: PackedModel,
    bytes: Vec<u8>,
    made: Option<Made>,
}

/// What a conversion says besides the model.
pub struct Made {
    conversion: Conversion,
    is_reached: Option<bool>,
}

impl Made {
    pub fn new(conversion: Conversion, is_reached: Option<bool>) -> Self {
        Self { conversion, is_reached }
    }

    /// Why a layer has its precision, in a word.
    fn reason(&self, layer: &str) -> Option<String> {
        of(&self.conversion.choices, layer).map(|choice| format!("{:?}", choice.reason).to_lowercase())
    }
}

#[pymethods]
impl Model {
    /// The model in a file.
    #[staticmethod]
    fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| fgq::read_model(&path)).and_then(Self::of).map_err(exception)
    }

    /// The model whose file has these bytes.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: Vec<u8>) -> PyResult<Self> {
        let model = py.detach(|| PackedModel::from_bytes(&bytes)).map_err(exception)?;
        Ok(Self { model, bytes, made: None })
    }

    /// The bytes of its file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    fn __len__(&self) -> usize {
        self.bytes.len()
    }

    /// Writes its file, whole or not at all.
    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| fgq::replace_file(&path, &self.bytes)).map_err(exception)
    }

    /// Writes a web page on it, whole or not at all.
    fn report(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let write = || {
            let page = match &self.made {
                Some(made) => Report::of_conversion(&made.conversion, self.bytes.len()),
                None => Report::of_model(&self.model, self.bytes.len()),
            }?;
            fgq::replace_file(&path, page.to_html().as_bytes())
        };
        py.detach(write).map_err(exception)
    }

    /// Prepares it for execution.
    #[pyo3(signature = (threads=None))]
    fn session(&self, py: Python<'_>, threads: Option<usize>) -> PyResult<Session> {
        Session::new(py, &self.model, threads)
    }

    /// The model that takes the widths of a setting, and nothing else.
    fn at(&self, setting: &str) -> PyResult<Self> {
        let model = self.model.widths_of(setting).and_then(|widths| self.model.at(&widths));
        model.and_then(Self::of).map_err(exception)
    }

    #[getter]
    fn name(&self) -> &str {
        &self.model.name
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.model.classes.clone()
    }

    #[getter]
    fn outputs(&self) -> PyResult<usize> {
        Ok(self.model.shapes().map_err(exception)?.last().map_or(0, |shape| shape.channels))
    }

    #[getter]
    fn preprocess(&self) -> Preprocess {
        Preprocess(self.model.preprocess.clone())
    }

    /// Where it comes from, as JSON.
    fn provenance(&self) -> String {
        serde_json::to_string(&self.model.provenance).unwrap_or_default()
    }

    /// Its layers with weights.
    #[getter]
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let summary = self.summary()?;
        summary.layers.iter().map(|layer| self.described(py, layer)).collect()
    }

    /// Weights, ternary weights, bits per weight, share of multiplications left in percent.
    fn totals(&self) -> PyResult<(usize, usize, f64, f64)> {
        let summary = self.summary()?;
        let left = 100.0 * summary.multiplications_left();
        Ok((summary.weights(), summary.ternary_weights(), summary.bits_per_weight(), left))
    }

    /// What the conversion measured: images, whether they were held back, agreement, divergence and their intervals,
    /// ratio of signal to noise of the logits.
    fn fidelity<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.model.fidelity.as_ref().map(|fidelity| judged(py, fidelity)).transpose()
    }

    /// What the conversion that made it had to say: whether it is a warning, and the words.
    #[getter]
    fn notes(&self) -> Vec<(bool, String)> {
        let notes = self.made.iter().flat_map(|made| &made.conversion.notes);
        notes.map(|note| (note.is_warning(), note.to_string())).collect()
    }

    /// Images that could not be read, and why.
    #[getter]
    fn unreadable(&self) -> Vec<(String, String)> {
        let unreadable = self.made.iter().flat_map(|made| &made.conversion.unreadable);
        unreadable.map(|(name, error)| (name.clone(), error.to_string())).collect()
    }

    /// Images that were fitted and held back, if this process converted it.
    #[getter]
    fn images(&self) -> Option<(usize, usize)> {
        self.made.as_ref().map(|made| (made.conversion.fitted, made.conversion.held_back))
    }

    /// Whether the goal of the conversion is reached, if there was one.
    #[getter]
    fn is_reached(&self) -> Option<bool> {
        self.made.as_ref()?.is_reached
    }
}

impl Model {
    /// What a conversion made.
    pub fn made(made: Made) -> PyResult<Self> {
        let model = made.conversion.model.clone();
        Ok(Self { made: Some(made), ..Self::of(model).map_err(exception)? })
    }

    /// The model.
    pub fn packed(&self) -> &PackedModel {
        &self.model
    }

    /// A model with the bytes of its file.
    pub fn of(model: PackedModel) -> fgq::Result<Self> {
        let bytes = model.to_bytes()?;
        Ok(Self { model, bytes, made: None })
    }

    fn summary(&self) -> PyResult<Summary> {
        Summary::new(&self.model, self.bytes.len()).map_err(exception)
    }

    fn described<'py>(&self, py: Python<'py>, layer: &Layer) -> PyResult<Bound<'py, PyDict>> {
        let row = PyDict::new(py);
        row.set_item("name", &layer.name)?;
        row.set_item("kind", layer.kind.to_string())?;
        row.set_item("precision", layer.precision.to_string())?;
        row.set_item("input_bits", layer.input_bits)?;
        row.set_item("shape", layer.shape)?;
        row.set_item("weights", layer.weights)?;
        row.set_item("bytes", layer.bytes.total())?;
        row.set_item("zeros", 100.0 * layer.zeros as f64 / layer.weights.max(1) as f64)?;
        row.set_item("multiplications", layer.multiplications)?;
        if let Some(figures) = &layer.fidelity {
            row.set_item("weight_sqnr", figures.weight)?;
            row.set_item("local_sqnr", figures.local)?;
            row.set_item("rounding_sqnr", figures.rounding)?;
            row.set_item("cumulative_sqnr", figures.cumulative)?;
            row.set_item("saturation", 100.0 * figures.saturation)?;
        }
        if let Some(made) = &self.made {
            row.set_item("reason", made.reason(&layer.name))?;
            row.set_item("seconds", of(&made.conversion.seconds, &layer.name))?;
        }
        Ok(row)
    }
}

/// What a list says of a layer.
fn of<'a, T>(list: &'a [(String, T)], layer: &str) -> Option<&'a T> {
    list.iter().find(|(name, _)| name == layer).map(|(_, value)| value)
}

fn judged<'py>(py: Python<'py>, fidelity: &Fidelity) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("images", fidelity.images)?;
    row.set_item("held_back", fidelity.held_back)?;
    row.set_item("logits_sqnr", fidelity.logits)?;
    if let Some(judgement) = &fidelity.judgement {
        judge(&row, judgement)?;
    }
    Ok(row)
}

/// Adds whether two networks say the same.
pub fn judge(row: &Bound<'_, PyDict>, judgement: &Judgement) -> PyResult<()> {
    row.set_item("agreement", judgement.agreement_percent())?;
    row.set_item("agreement_ci95", judgement.agreement_interval())?;
    row.set_item("divergence", judgement.divergence)?;
    row.set_item("divergence_ci95", judgement.divergence_interval())
}

/// Whether a file is to be read as a packed model: by its ending or by its first bytes.
#[pyfunction]
pub fn is_packed_model(path: PathBuf) -> bool {
    path.extension().is_some_and(|ending| ending == "fgq") || fgq::is_packed_model(&path)
}
