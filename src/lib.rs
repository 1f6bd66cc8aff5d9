//! fgq

mod error;
mod graph;
mod tensor;

pub use error::{Error, ErrorKind, Result};
