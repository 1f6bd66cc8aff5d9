//! Tiles for WebAssembly with vectors of 128 bits.

#![allow(unsafe_code)]

mod common;
mod peak;
#[cfg(target_feature = "relaxed-simd")]
mod relaxed;
mod simd128;

#[cfg(target_feature = "relaxed-simd")]
pub(super) use relaxed::{RELAXED_SIMD, adds_pairs_unsigned};
pub(super) use simd128::SIMD128;
