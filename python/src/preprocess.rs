//! How images become a network's input.

use crate::errors::exception;
use fgq::{Picture, PreprocessOptions};
use numpy::{PyArray1, PyReadonlyArray3};
use pyo3::prelude::*;
use std::path::PathBuf;

/// How images become a network's input, as stored in a packed model.
#[pyclass(frozen, module = "fgq")]
pub struct Preprocess(pub fgq::Preprocess);

#[pymethods]
impl Preprocess {
    /// Rows, columns and channels of the network's input.
    #[getter]
    fn shape(&self) -> (usize, usize, usize) {
        (self.0.crop.height, self.0.crop.width, self.0.channels.count())
    }

    /// Subtracted from each channel, in pixel values from 0 to 255.
    #[getter]
    fn pixel_mean(&self) -> Vec<f64> {
        self.0.mean.iter().map(|&mean| f64::from(mean) * self.range()).collect()
    }

    /// Divides each channel, in pixel values from 0 to 255.
    #[getter]
    fn pixel_std(&self) -> Vec<f64> {
        self.0.std.iter().map(|&std| f64::from(std) * self.range()).collect()
    }

    /// The network's input pixels of a picture: rows, columns, 1 or 3 channels.
    fn of_picture<'py>(
        &self,
        py: Python<'py>,
        picture: PyReadonlyArray3<'py, u8>,
    ) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let view = picture.as_array();
        let (height, width, channels) = view.dim();
        let picture = Picture { height, width, channels, data: view.iter().copied().collect() };
        let pixels = py.detach(|| fgq::pixels_of(picture, &self.0)).map_err(exception)?;
        Ok(PyArray1::from_vec(py, pixels))
    }

    /// The network's input pixels of an image file.
    fn of_file<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let pixels = py.detach(|| pixels_of_file(&path, &self.0)).map_err(exception)?;
        Ok(PyArray1::from_vec(py, pixels))
    }

    /// As the packed model stores it, as JSON.
    fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    fn __repr__(&self) -> String {
        format!("<fgq.Preprocess: {}>", self.0)
    }
}

impl Preprocess {
    fn range(&self) -> f64 {
        f64::from(self.0.scale.divisor())
    }
}

/// The network's input pixels of an image file.
pub fn pixels_of_file(path: &std::path::Path, preprocess: &fgq::Preprocess) -> fgq::Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|error| fgq::Error::io(path, error))?;
    fgq::input_pixels(&bytes, preprocess).map_err(|error| error.at_path(path))
}

/// What a caller says of preprocessing: a preset, a JSON file, or JSON with some of its keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Wish {
    preset: Option<String>,
    file: Option<PathBuf>,
    options: Option<String>,
}

impl Wish {
    /// What was wished for, starting from `base`.
    pub fn applied_to(&self, base: fgq::Preprocess) -> fgq::Result<fgq::Preprocess> {
        if let Some(name) = &self.preset {
            return fgq::Preprocess::preset(name);
        }
        if let Some(file) = &self.file {
            return fgq::read_preprocess(file, &base);
        }
        match &self.options {
            Some(text) => options(text)?.apply(base),
            None => Ok(base),
        }
    }

    /// The crop that is wished for, whatever the network.
    pub fn crop(&self) -> Option<fgq::Size> {
        let base = fgq::Preprocess::default_for(3, 1, 1).ok()?;
        self.applied_to(base)
            .ok()
            .map(|preprocess| preprocess.crop)
            .filter(|crop| *crop != fgq::Size::square(1))
    }
}

fn options(text: &str) -> fgq::Result<PreprocessOptions> {
    serde_json::from_str(text).map_err(|error| {
        fgq::Error::new(fgq::ErrorKind::Argument, format!("`preprocess`: {error}")).because(error)
    })
}

/// Rows and columns that the preprocessing crops to, whatever the network; nothing if it does not say.
#[pyfunction]
pub fn crop_of(wish: Wish) -> Option<[usize; 2]> {
    wish.crop().map(Into::into)
}
