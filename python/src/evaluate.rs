//! Accuracy on labelled images.

use crate::errors::exception;
use crate::images::Images;
use crate::model::{Model, judge};
use crate::network::Network;
use crate::session::Session;
use crate::work::watched;
use fgq::{Evaluation, GivenClass, ImageAnswer};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Measures a packed model, and a reference on the same images.
#[pyfunction]
#[pyo3(signature = (model, images, reference=None, threads=None, report=None))]
pub fn evaluate<'py>(
    py: Python<'py>,
    model: Py<Model>,
    images: Py<Images>,
    reference: Option<Py<Network>>,
    threads: Option<usize>,
    report: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (model, images) = (model.get().packed(), images.get().source());
    let reference = reference.as_ref().map(Py::get);
    reference.map(|network| network.check_reference(model)).transpose()?;
    let graph = reference.map(|network| &network.graph);
    let measured =
        watched(py, threads, report.as_ref(), |progress| fgq::evaluate(model, images, graph, progress))?;
    described(py, &measured)
}

/// Measures a network in full precision.
#[pyfunction]
#[pyo3(signature = (network, images, threads=None, report=None))]
pub fn evaluate_network<'py>(
    py: Python<'py>,
    network: Py<Network>,
    images: Py<Images>,
    threads: Option<usize>,
    report: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (network, images) = (network.get(), images.get().source());
    let measured = watched(py, threads, report.as_ref(), |progress| {
        fgq::evaluate_network(&network.graph, &network.preprocess, images, progress)
    })?;
    described(py, &measured)
}

/// Shares are in percent.
fn described<'py>(py: Python<'py>, measured: &Evaluation) -> PyResult<Bound<'py, PyDict>> {
    let Evaluation { accuracy, comparison, images_per_second, unreadable, .. } = measured;
    let row = PyDict::new(py);
    row.set_item("images", accuracy.images)?;
    row.set_item("top1", accuracy.top1_percent())?;
    row.set_item("top5", accuracy.top5_percent())?;
    row.set_item("top1_ci95", accuracy.top1_interval())?;
    row.set_item("images_per_second", images_per_second)?;
    let unreadable: Vec<(&str, String)> =
        unreadable.iter().map(|(name, error)| (name.as_str(), error.to_string())).collect();
    row.set_item("unreadable", unreadable)?;
    if let Some(comparison) = comparison {
        row.set_item("reference_top1", comparison.reference.top1_percent())?;
        row.set_item("reference_top5", comparison.reference.top5_percent())?;
        row.set_item("drop", comparison.drop())?;
        row.set_item("drop_ci95", comparison.drop_interval())?;
        judge(&row, &comparison.judgement)?;
        row.set_item("p_value", comparison.p_value())?;
        row.set_item("only_reference", comparison.only_reference)?;
        row.set_item("only_model", comparison.only_model)?;
    }
    Ok(row)
}

/// Place, right class, class, probability, whether the right one is among five; the same of the reference; divergence.
type AnswerRow = (usize, Option<usize>, usize, f64, bool, Option<(usize, f64, bool)>, Option<f64>);

/// Images that cannot be read, and why.
type Unread = Vec<(String, String)>;

/// What a model says of every image, and of which none can be read.
#[pyfunction]
#[pyo3(signature = (model, session, images, reference=None))]
pub fn answers(
    py: Python<'_>,
    model: Py<Model>,
    session: Py<Session>,
    images: Py<Images>,
    reference: Option<Py<Network>>,
) -> PyResult<(Vec<AnswerRow>, Unread)> {
    let (model, session, images) = (model.get().packed(), session.get(), images.get().source());
    let reference = reference.as_ref().map(Py::get);
    reference.map(|network| network.check_reference(model)).transpose()?;
    let graph = reference.map(|network| &network.graph);
    let (found, unreadable) = watched(py, Some(session.thread_count()), None, |progress| {
        session.read(|session| fgq::answers_of(model, session, graph, images, progress))
    })?;
    let given = |given: GivenClass| (given.class, given.probability, given.in_top5);
    let row = |it: ImageAnswer| {
        let (class, probability, in_top5) = given(it.given);
        (it.image, it.label, class, probability, in_top5, it.reference.map(given), it.divergence)
    };
    let unreadable = unreadable.into_iter().map(|(name, error)| (name, error.to_string())).collect();
    Ok((found.into_iter().map(row).collect(), unreadable))
}

/// What answers say together, in their order.
#[pyfunction]
pub fn evaluation(py: Python<'_>, rows: Vec<AnswerRow>, unreadable: Unread) -> PyResult<Bound<'_, PyDict>> {
    let given = |(class, probability, in_top5)| GivenClass { class, probability, in_top5 };
    let answer =
        |(image, label, class, probability, in_top5, reference, divergence): AnswerRow| ImageAnswer {
            image,
            label,
            given: GivenClass { class, probability, in_top5 },
            reference: reference.map(given),
            divergence,
        };
    let error = |(name, message): (String, String)| (name, fgq::Error::new(fgq::ErrorKind::Image, message));
    let answers = rows.into_iter().map(answer).collect();
    let evaluation = Evaluation::of(answers, unreadable.into_iter().map(error).collect());
    described(py, &evaluation.map_err(exception)?)
}
