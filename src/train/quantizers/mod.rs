//! Quantizers in training: what the packed model's codes stand for, with gradients straight through the rounding.

mod activation;
mod drop;
mod lookup;
mod parametrized;
mod planes;
mod stepped;
#[cfg(test)]
mod tests;
mod weights;

pub(super) use activation::ActivationQuantizer;
pub(super) use drop::DropMask;
pub(super) use lookup::Lookup;
pub use parametrized::Parametrization;
pub(super) use parametrized::{ParametrizedQuantizer, QuantizerStart, nearest_step};
pub(super) use planes::PlaneQuantizer;
pub(super) use stepped::SteppedCodes;
pub(super) use weights::WeightQuantizer;
