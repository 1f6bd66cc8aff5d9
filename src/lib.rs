//! fgq
#![allow(dead_code, unused_imports)]

mod calibrate;
mod data;
mod error;
mod fixed;
#[allow(dead_code)]
mod fold;
mod format;
#[allow(dead_code, unused_imports)]
mod graph;
mod kernels;
mod pack;
mod plan;
mod progress;
mod quantize;
mod reestimate;
mod runtime;
mod source;
mod tensor;
mod ternarize;

pub use error::{Error, ErrorKind, Result};
pub use format::{PackedModel, read_model, write_model};
pub use runtime::{Kernels, Logits, Session};
pub use ternarize::{TernarizeOptions, TernaryTensor, ternarize_tensor};
