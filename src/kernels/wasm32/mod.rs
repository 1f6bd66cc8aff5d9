//! Tiles for WebAssembly with vectors of 128 bits.

#![allow(unsafe_code)]

mod common;
mod peak;
#[cfg(target_feature = "relaxed-simd")]
mod relaxed;
mod simd128;

use super::Kernels;
use super::blocked::Isa;

/// The tiles of an instruction set, if this is one and the engine has it.
pub(super) fn isa(kernels: Kernels) -> Option<&'static Isa> {
    match kernels {
        Kernels::Simd128 => Some(&simd128::SIMD128),
        #[cfg(target_feature = "relaxed-simd")]
        Kernels::RelaxedSimd => relaxed::adds_pairs_unsigned().then_some(&relaxed::RELAXED_SIMD),
        _ => None,
    }
}
