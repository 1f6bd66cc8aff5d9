//! Integer kernels. [`mod@reference`] defines every result; the other paths must agree to the bit.

#![deny(clippy::float_arithmetic)]

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod aarch64;
pub(crate) mod blocked;
mod choice;
mod conv;
pub(crate) mod elementwise;
mod epilogue;
pub(crate) mod layout;
pub(crate) mod norm;
#[cfg(any(test, miri))]
mod plain;
pub(crate) mod pool;
mod portable;
mod reference;
mod spec;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm32;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(test)]
mod tests;

pub use choice::Kernels;
pub(crate) use conv::{ConvKernel, logits};
pub(crate) use epilogue::{Epilogue, offset};
pub(crate) use spec::ConvSpec;
