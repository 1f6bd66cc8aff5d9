//! NEON with dot products: 5 positions × 16 channels in 20 registers.

use super::common::{ORDER, codes, depthwise, finish, four_codes};
use super::peak;
use super::sums::{HalfSums, fetch, in_parts, sums};
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, Tile};
use crate::wide::Width;
use std::arch::aarch64::*;
use std::arch::asm;

/// See [`Isa`].
pub(super) static NEON_DOTPROD: Isa = Isa {
    strips: &[5, 4, 3, 2, 1],
    shortens: true,
    form: Form::Signed,
    width: Width::BASELINE,
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the CPU has NEON and dot products, which the functions below need; they keep to what they
    // must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply: peak::dotprod,
};

/// By number of positions, from 1.
const SUMS: [HalfSums; 5] = [sums_1, sums_2, sums_3, sums_4, sums_5];

/// # Safety
/// As [`Tile`] says.
unsafe fn tile(tile: &Tile) {
    // SAFETY: as the caller promises.
    unsafe { in_parts(tile, 2 * PANEL, &SUMS) };
}

/// Adds to each sum the products of its four weights with the codes in `LANE`. `sdot` has no stable intrinsic.
///
/// # Safety
/// The CPU has NEON and dot products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const LANE: i32>(mut sum: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    // SAFETY: the CPU has the instruction; only the register named as output is written.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]",
            inout(vreg) sum, in(vreg) weights, in(vreg) codes, const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn zero() -> int32x4_t {
    vdupq_n_s32(0)
}

/// Two steps, which meet the codes in two lanes.
///
/// # Safety
/// The CPU has NEON and dot products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn two<const A: i32, const B: i32>(sum: int32x4_t, weights: [int8x16_t; 2], codes: int8x16_t) -> int32x4_t {
    dot::<B>(dot::<A>(sum, weights[0], codes), weights[1], codes)
}

/// One step, which meets the same codes in all lanes.
///
/// # Safety
/// The CPU has NEON and dot products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn one(sum: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    dot::<0>(sum, weights, codes)
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn widened(sum: int32x4_t) -> int32x4_t {
    sum
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn total(sum: int32x4_t) -> int32x4_t {
    sum
}

sums! {
    #[target_feature(enable = "neon,dotprod")]
    fn sums_5;
    0 x0, 1 x1, 2 x2, 3 x3, 4 x4;
    0: a0 x0 0, b0 x1 1, c0 x2 2, d0 x3 3, e0 x4 4;
    1: a1 x0 0, b1 x1 1, c1 x2 2, d1 x3 3, e1 x4 4;
    2: a2 x0 0, b2 x1 1, c2 x2 2, d2 x3 3, e2 x4 4;
    3: a3 x0 0, b3 x1 1, c3 x2 2, d3 x3 3, e3 x4 4;
}

sums! {
    #[target_feature(enable = "neon,dotprod")]
    fn sums_4;
    0 x0, 1 x1, 2 x2, 3 x3;
    0: a0 x0 0, b0 x1 1, c0 x2 2, d0 x3 3;
    1: a1 x0 0, b1 x1 1, c1 x2 2, d1 x3 3;
    2: a2 x0 0, b2 x1 1, c2 x2 2, d2 x3 3;
    3: a3 x0 0, b3 x1 1, c3 x2 2, d3 x3 3;
}

sums! {
    #[target_feature(enable = "neon,dotprod")]
    fn sums_3;
    0 x0, 1 x1, 2 x2;
    0: a0 x0 0, b0 x1 1, c0 x2 2;
    1: a1 x0 0, b1 x1 1, c1 x2 2;
    2: a2 x0 0, b2 x1 1, c2 x2 2;
    3: a3 x0 0, b3 x1 1, c3 x2 2;
}

sums! {
    #[target_feature(enable = "neon,dotprod")]
    fn sums_2;
    0 x0, 1 x1;
    0: a0 x0 0, b0 x1 1;
    1: a1 x0 0, b1 x1 1;
    2: a2 x0 0, b2 x1 1;
    3: a3 x0 0, b3 x1 1;
}

sums! {
    #[target_feature(enable = "neon,dotprod")]
    fn sums_1;
    0 x0;
    0: a0 x0 0;
    1: a1 x0 0;
    2: a2 x0 0;
    3: a3 x0 0;
}
