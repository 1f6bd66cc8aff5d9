//! fgq

#[allow(dead_code, unused_imports)]
mod data;
mod error;
#[allow(dead_code, unused_imports)]
mod format;
mod graph;
mod tensor;

pub use error::{Error, ErrorKind, Result};
