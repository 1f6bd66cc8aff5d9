//! Integer-only execution of packed models.

#![deny(clippy::float_arithmetic)]

mod engine;
mod fuse;
mod nodes;
mod schedule;
mod session;
mod step;
mod switch;

#[cfg(test)]
mod tests;

pub use crate::kernels::Kernels;
use crate::liveness::last_uses;
pub use session::{Logits, Session};
pub(crate) use step::{Operand, Step};
