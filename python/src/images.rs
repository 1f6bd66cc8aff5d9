//! Images as Python gives them.

use crate::errors::{argument, exception};
use fgq::{Dataset, PixelImages};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::path::PathBuf;

/// Images for a conversion or a measurement.
#[pyclass(frozen, module = "fgq")]
pub struct Images {
    source: Source,
    /// The folder that was opened.
    folder: Option<PathBuf>,
}

enum Source {
    Files(Dataset),
    Pixels(PixelImages),
}

#[pymethods]
impl Images {
    /// All images in a folder and below it, or one file; with labels for a network with so many `outputs`, if given.
    #[classmethod]
    #[pyo3(signature = (path, outputs=None, labels=None))]
    fn folder(
        _: &Bound<'_, PyType>,
        py: Python<'_>,
        path: PathBuf,
        outputs: Option<usize>,
        labels: Option<PathBuf>,
    ) -> PyResult<Self> {
        let read = || match outputs {
            Some(outputs) => Dataset::labelled(&path, labels.as_deref(), outputs),
            None => Dataset::unlabelled(&path),
        };
        py.detach(read)
            .map(|images| Self { source: Source::Files(images), folder: Some(path.clone()) })
            .map_err(exception)
    }

    /// Image files.
    #[classmethod]
    fn files(_: &Bound<'_, PyType>, paths: Vec<PathBuf>, labels: Vec<usize>) -> PyResult<Self> {
        Dataset::of_files(paths, &labels).map(Source::Files).map(Self::loose).map_err(exception)
    }

    /// Input pixels of a network, in the order row, column, channel.
    #[classmethod]
    fn pixels(
        _: &Bound<'_, PyType>,
        pixels: Vec<PyReadonlyArray1<'_, u8>>,
        labels: Vec<usize>,
    ) -> PyResult<Self> {
        if !labels.is_empty() && labels.len() != pixels.len() {
            let (labels, images) = (labels.len(), pixels.len());
            return Err(argument(format!("{labels} labels for {images} images; give one for each, or none")));
        }
        let pixels = pixels.iter().map(|pixels| pixels.as_array().to_vec()).collect();
        Ok(Self::loose(Source::Pixels(PixelImages { pixels, labels })))
    }

    /// At most `count` of them, spread evenly.
    fn spread(&self, count: usize) -> Self {
        let source = match &self.source {
            Source::Files(images) => Source::Files(images.clone().spread(count)),
            Source::Pixels(images) => Source::Pixels(images.spread(count)),
        };
        Self { source, folder: self.folder.clone() }
    }

    /// Names of the classes in order of their index, if folders say so.
    #[getter]
    fn class_names(&self) -> Option<Vec<String>> {
        match &self.source {
            Source::Files(images) => images.class_names().map(<[String]>::to_vec),
            Source::Pixels(_) => None,
        }
    }

    /// How labels were understood.
    #[getter]
    fn notes(&self) -> Vec<String> {
        match &self.source {
            Source::Files(images) => images.notes().to_vec(),
            Source::Pixels(_) => Vec::new(),
        }
    }

    /// Files, what they are called in messages, and labels; none of images in memory.
    #[getter]
    fn entries(&self) -> Vec<(PathBuf, String, Option<usize>)> {
        match &self.source {
            Source::Files(images) => {
                let entry = |entry: &fgq::Entry| (entry.path.clone(), entry.name.clone(), entry.label);
                images.entries().iter().map(entry).collect()
            }
            Source::Pixels(_) => Vec::new(),
        }
    }

    fn __len__(&self) -> usize {
        self.source().len()
    }
}

impl Images {
    /// Images that are in no folder, as far as is known.
    fn loose(source: Source) -> Self {
        Self { source, folder: None }
    }

    /// The images.
    pub fn source(&self) -> &dyn fgq::Images {
        match &self.source {
            Source::Files(images) => images,
            Source::Pixels(images) => images,
        }
    }

    /// Names of the classes of a network with so many outputs, if the folders that images lie in say them.
    pub fn names(&self, outputs: usize) -> Option<Vec<String>> {
        let Source::Files(images) = &self.source else { return None };
        images.class_names().map(<[String]>::to_vec).or_else(|| {
            let labelled = Dataset::labelled(self.folder.as_deref()?, None, outputs).ok()?;
            labelled.class_names().map(<[String]>::to_vec)
        })
    }
}
