//! Integer-only execution of packed models.

#![deny(clippy::float_arithmetic)]

mod fuse;
mod schedule;
mod session;
mod step;

#[cfg(test)]
mod tests;

pub use crate::kernels::Kernels;
use crate::liveness::last_uses;
pub use session::{Logits, Session};
pub(crate) use step::{Operand, Step};
