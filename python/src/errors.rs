//! The library's errors as Python's exceptions.

use fgq::{Error, ErrorKind};
use pyo3::prelude::*;
use std::error::Error as _;

/// The exception for an error: `fgq._errors.of` chooses the class.
pub fn exception(error: Error) -> PyErr {
    Python::attach(|py| match made(py, &error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    })
}

/// The exception for an argument that the library never sees.
pub fn argument(message: impl Into<String>) -> PyErr {
    exception(Error::new(ErrorKind::Argument, message))
}

fn made<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let refusals: Vec<(&str, &str, &str)> = error
        .refusals()
        .iter()
        .map(|refusal| (refusal.node.as_str(), refusal.operator.as_str(), refusal.reason.as_str()))
        .collect();
    let cause = error.source().map(ToString::to_string);
    let arguments = (error.kind().name(), error.message(), error.path(), error.node(), refusals, cause);
    py.import("fgq._errors")?.getattr("of")?.call1(arguments)
}
