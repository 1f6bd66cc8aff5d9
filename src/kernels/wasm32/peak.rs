//! Nothing but multiplications, in registers: the rate that convolutions are measured against.

use std::arch::wasm32::*;
use std::hint::black_box;

/// Sums that do not wait for each other.
const SUMS: usize = 8;

/// So many rounds; returns the number of products, of which each multiplication makes `PRODUCTS`.
#[inline(always)]
fn rounds<const PRODUCTS: usize>(rounds: usize, add: impl Fn(v128, v128) -> v128) -> usize {
    let (factors, mut sums) = (black_box(i8x16_splat(1)), [i8x16_splat(0); SUMS]);
    for _ in 0..rounds {
        sums = sums.map(|sum| add(sum, factors));
    }
    black_box(sums);
    rounds * SUMS * PRODUCTS
}

/// See [`Isa::multiply`](crate::kernels::blocked::Isa::multiply).
pub(super) fn simd128(count: usize) -> usize {
    rounds::<8>(count, |sum, factors| i32x4_add(i32x4_dot_i16x8(sum, factors), sum))
}

/// See [`Isa::multiply`](crate::kernels::blocked::Isa::multiply).
#[cfg(target_feature = "relaxed-simd")]
pub(super) fn relaxed(count: usize) -> usize {
    rounds::<16>(count, |sum, factors| i16x8_add(i16x8_relaxed_dot_i8x16_i7x16(sum, factors), sum))
}
