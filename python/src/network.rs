//! Trained networks.

use crate::errors::{argument, exception};
use crate::preprocess::{Preprocess, Wish};
use fgq::{Graph, LoadOptions, Size};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};

/// A trained network in full precision, and how images are prepared for it.
#[pyclass(frozen, module = "fgq")]
pub struct Network {
    pub graph: Graph,
    pub preprocess: fgq::Preprocess,
    /// Options worth recording in a packed model.
    pub record: Vec<(String, String)>,
    /// File name and SHA-256 of what it was read from.
    pub source: (String, String),
    notes: Vec<String>,
}

/// Where a network comes from: a file, or the bytes and the name of one in ONNX.
enum Origin {
    File(PathBuf),
    Onnx(Vec<u8>, String),
}

impl Origin {
    fn load(&self, options: &LoadOptions) -> fgq::Result<fgq::Loaded> {
        match self {
            Self::File(path) => fgq::load(path, options),
            Self::Onnx(bytes, name) => fgq::load_onnx(bytes.clone(), name, options),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Onnx(_, name) => Path::new(name),
        }
    }
}

#[pymethods]
impl Network {
    /// Reads a network from a file, or from the bytes of one in ONNX.
    #[new]
    #[pyo3(signature = (path, onnx, sha256, preprocess, input_size=None, arch=None, output_name=None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        onnx: Option<Vec<u8>>,
        sha256: String,
        preprocess: Wish,
        input_size: Option<[usize; 2]>,
        arch: Option<String>,
        output_name: Option<String>,
    ) -> PyResult<Self> {
        let origin = match onnx {
            Some(bytes) => Origin::Onnx(bytes, path.display().to_string()),
            None => Origin::File(path),
        };
        let record = [("arch", &arch), ("output_name", &output_name)];
        let record = record.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let record = record.collect();
        let options = LoadOptions { input_size, output: output_name, architecture: arch };
        let load = || Self::load(&origin, options, &preprocess);
        let (loaded, preprocess) = py.detach(load).map_err(exception)?;
        let name = origin.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { graph: loaded.graph, preprocess, record, source: (name, sha256), notes: loaded.notes })
    }

    /// Number of outputs.
    #[getter]
    fn outputs(&self) -> PyResult<usize> {
        self.output_count().map_err(exception)
    }

    /// What a user should know about how the file was read.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// Names of the layers with weights in execution order, as a packed model has them.
    #[getter]
    fn layers(&self) -> PyResult<Vec<String>> {
        let summary = fgq::NetworkSummary::new(&self.graph).map_err(exception)?;
        Ok(summary.layers.into_iter().map(|layer| layer.name).collect())
    }

    /// How images are prepared.
    #[getter]
    fn preprocess(&self) -> Preprocess {
        Preprocess(self.preprocess.clone())
    }
}

impl Network {
    /// At the size that the preprocessing crops to if nothing else says it, as the command does it.
    fn load(
        origin: &Origin,
        options: LoadOptions,
        wish: &Wish,
    ) -> fgq::Result<(fgq::Loaded, fgq::Preprocess)> {
        let loaded = match (options.input_size, wish.crop()) {
            (None, Some(crop)) => {
                let sized = LoadOptions { input_size: Some(crop.into()), ..options.clone() };
                origin.load(&sized).or_else(|_| origin.load(&options))
            }
            _ => origin.load(&options),
        }?;
        let (base, _) = fgq::usual_preprocess(&loaded.graph, origin.path())?;
        let preprocess = wish.applied_to(base)?;
        Ok((loaded, preprocess))
    }

    /// Number of outputs.
    pub fn output_count(&self) -> fgq::Result<usize> {
        Ok(self.graph.shapes()?.get(self.graph.output).map_or(0, fgq::Shape::len))
    }

    /// As the reference of a packed model with an input of this size and so many outputs.
    pub fn check_reference(&self, model: &fgq::PackedModel) -> PyResult<()> {
        let size = |shape: fgq::Shape| Size { height: shape.height, width: shape.width };
        if size(self.graph.input) != size(model.input) {
            let (found, expected) = (size(self.graph.input), size(model.input));
            return Err(argument(format!("the reference reads images of {found}, the model of {expected}")));
        }
        let expected = model.shapes().map_err(exception)?.last().map_or(0, |shape| shape.channels);
        let found = self.output_count().map_err(exception)?;
        if found != expected {
            return Err(argument(format!("the reference has {found} outputs, the model {expected}")));
        }
        Ok(())
    }
}
