//! fgq

mod error;
mod graph;
#[allow(dead_code)]
mod source;
mod tensor;

pub use error::{Error, ErrorKind, Result};
