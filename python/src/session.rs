//! Running packed models.

use crate::errors::{argument, exception};
use crate::pool::{count, pool};
use fgq::Logits;
use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use std::sync::{PoisonError, RwLock};

/// A packed model ready to run.
#[pyclass(frozen, module = "fgq")]
pub struct Session {
    session: RwLock<fgq::Session>,
    threads: usize,
    scale: f64,
}

#[pymethods]
impl Session {
    /// Rows, columns and channels of the input.
    #[getter]
    fn shape(&self) -> (usize, usize, usize) {
        let input = self.read(fgq::Session::input);
        (input.height, input.width, input.channels)
    }

    /// Number of threads.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// Which kernels run.
    #[getter]
    fn kernels(&self) -> String {
        self.read(|session| session.kernels().name().to_owned())
    }

    /// The real value of one unit of the logits.
    #[getter]
    fn logit_scale(&self) -> f64 {
        self.scale
    }

    /// The logits of images whose pixels lie one after another, as images × classes.
    fn run<'py>(
        &self,
        py: Python<'py>,
        pixels: PyReadonlyArray1<'py, u8>,
    ) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let pixels = pixels.as_slice().map_err(|_| argument("pixels that do not lie one after another"))?;
        let pool = if self.threads == 1 { None } else { Some(pool(Some(self.threads))?) };
        let logits = py.detach(|| {
            self.read(|session| match pool {
                Some(pool) => pool.install(|| session.run(pixels)),
                None => run_alone(session, pixels),
            })
        });
        array(py, logits.map_err(exception)?)
    }

    /// The widths that the layers can have.
    #[getter]
    fn widths(&self) -> Vec<u8> {
        self.read(|session| session.widths().to_vec())
    }

    /// Names of settings and the widths that they give the layers.
    #[getter]
    fn settings(&self) -> Vec<(String, Vec<u8>)> {
        let named = |setting: &fgq::Setting| (setting.name.clone(), setting.widths.clone());
        self.read(|session| session.settings().iter().map(named).collect())
    }

    /// The layers that switch, and the width that each has now.
    #[getter]
    fn layers(&self) -> Vec<(String, u8)> {
        self.read(|session| session.layers().map(|(name, width)| (name.to_owned(), width)).collect())
    }

    /// Gives all layers, or one of them, another width.
    #[pyo3(signature = (setting, layer=None))]
    fn set_bits(&self, py: Python<'_>, setting: &str, layer: Option<&str>) -> PyResult<()> {
        let width =
            |text: &str| text.parse().map_err(|_| argument(format!("`setting = {text}` is no width")));
        let width = layer.map(|_| width(setting)).transpose()?;
        let pool = pool(Some(self.threads))?;
        py.detach(|| {
            let mut session = self.session.write().unwrap_or_else(PoisonError::into_inner);
            // The lock stays with this thread: those of the pool may turn to other work while they wait.
            let session = &mut *session;
            pool.install(|| match width {
                Some(width) => session.set_bits(layer, width),
                None => session.set(setting),
            })
        })
        .map_err(exception)
    }

    /// Keeps no more than so many bytes of weights that are not in use.
    fn keep_at_most(&self, bytes: usize) {
        self.session.write().unwrap_or_else(PoisonError::into_inner).keep_at_most(bytes);
    }
}

impl Session {
    pub fn new(py: Python<'_>, model: &fgq::PackedModel, threads: Option<usize>) -> PyResult<Self> {
        let threads = count(threads)?;
        let pool = pool(Some(threads))?;
        let session = py.detach(|| pool.install(|| fgq::Session::new(model))).map_err(exception)?;
        Ok(Self { session: RwLock::new(session), threads, scale: model.logit_scale })
    }

    /// Number of threads.
    pub fn thread_count(&self) -> usize {
        self.threads
    }

    /// What `of` finds of the session, which does not change meanwhile.
    pub fn read<T>(&self, of: impl FnOnce(&fgq::Session) -> T) -> T {
        of(&self.session.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One image after another on this thread, whatever pool it may belong to.
fn run_alone(session: &fgq::Session, pixels: &[u8]) -> fgq::Result<Logits> {
    let one = session.input().len();
    if pixels.len() <= one || !pixels.len().is_multiple_of(one) {
        return session.run(pixels);
    }
    let mut logits = Logits { classes: 0, data: Vec::new() };
    for image in pixels.chunks_exact(one) {
        let of_image = session.run(image)?;
        logits.classes = of_image.classes;
        logits.data.extend(of_image.data);
    }
    Ok(logits)
}

fn array(py: Python<'_>, logits: Logits) -> PyResult<Bound<'_, PyArray2<i32>>> {
    let images = logits.data.len() / logits.classes.max(1);
    numpy::PyArray1::from_vec(py, logits.data).reshape([images, logits.classes])
}
