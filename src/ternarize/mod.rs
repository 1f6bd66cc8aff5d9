//! Fine-grained ternary weights: codes −1, 0, +1 in groups that share a scale.

mod channels;
mod closed_form;
mod lanes;
mod tensor;

#[cfg(test)]
mod tests;

pub(crate) use closed_form::solve;
pub use tensor::{TernarizeOptions, TernaryTensor, ternarize_tensor};
