//! Tiles for x86-64.

#![allow(unsafe_code)]

mod amx;
mod avx2;
mod avx512;
mod peak;
mod sums;

use super::Kernels;
use super::blocked::Isa;
use std::arch::is_x86_feature_detected as has;

/// The tiles of an instruction set, if this is one and the machine has it.
pub(super) fn isa(kernels: Kernels) -> Option<&'static Isa> {
    match kernels {
        Kernels::Avx2 => has!("avx2").then_some(&avx2::AVX2),
        Kernels::AvxVnni => (has!("avx2") && has!("avxvnni")).then_some(&avx2::AVX_VNNI),
        Kernels::Avx512Vnni => {
            let found = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni");
            found.then_some(&avx512::AVX512_VNNI)
        }
        Kernels::Amx => isa(Kernels::Avx512Vnni).filter(|_| amx::is_available()).map(|_| &amx::AMX),
        _ => None,
    }
}
