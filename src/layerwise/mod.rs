//! Conversion layer by layer, in execution order: each layer is fitted on the integer activations that the
//! layers before it, already fitted and packed, really produce.

mod compensate;
mod gram;
mod matrix;
mod method;
mod noise;
mod note;
mod objective;
mod patches;
mod probe;
mod spread;
mod statistics;
mod teacher;
mod vector;
mod walk;
mod yields;

pub use method::Method;
pub use note::Note;
pub(crate) use walk::{Packed, Survey, WhatIf, fit_and_pack, measure_and_pack};
