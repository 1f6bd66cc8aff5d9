//! Quantizers in training: what the packed model's codes stand for, with gradients straight through the rounding.

mod activation;
mod lookup;
mod stepped;
#[cfg(test)]
mod tests;
mod weights;

pub(super) use activation::ActivationQuantizer;
pub(super) use lookup::Lookup;
pub(super) use stepped::SteppedCodes;
pub(super) use weights::WeightQuantizer;
