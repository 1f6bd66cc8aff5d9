//! Tiles for AArch64.

#![allow(unsafe_code)]

mod common;
mod dotprod;
mod i8mm;
mod neon;
mod peak;
mod short;
mod sums;

use super::Kernels;
use super::blocked::Isa;
use std::arch::is_aarch64_feature_detected as has;

/// The tiles of an instruction set, if this is one and the machine has it.
pub(super) fn isa(kernels: Kernels) -> Option<&'static Isa> {
    // Lanes are read as bytes.
    let neon = has!("neon") && cfg!(target_endian = "little");
    match kernels {
        Kernels::Neon => neon.then_some(&neon::NEON),
        Kernels::NeonDotprod => (neon && has!("dotprod")).then_some(&dotprod::NEON_DOTPROD),
        Kernels::NeonI8mm => (neon && has!("i8mm")).then_some(&i8mm::NEON_I8MM),
        _ => None,
    }
}
