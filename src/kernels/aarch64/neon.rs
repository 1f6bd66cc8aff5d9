//! NEON without dot products: 2 positions × 16 channels in 16 registers.

use super::common::{ORDER, codes, depthwise, finish, four_codes};
use super::sums::{HalfSums, fetch, in_parts, sums};
use super::{peak, short};
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, Tile};
use crate::wide::Width;
use std::arch::aarch64::*;

/// See [`Isa`].
pub(super) static NEON: Isa = Isa {
    strips: &[6, 5, 4, 3, 2, 1],
    shortens: true,
    form: Form::Short,
    width: Width::BASELINE,
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the CPU has NEON, which the functions below need; they keep to what they
    // must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply: peak::neon,
};

/// By number of positions, from 1.
const SUMS: [HalfSums; 2] = [sums_1, sums_2];

/// # Safety
/// As [`Tile`] says.
unsafe fn tile(tile: &Tile) {
    let sums = if tile.short { &short::SUMS } else { &SUMS };
    // SAFETY: as the caller promises.
    unsafe { in_parts(tile, 2 * PANEL, sums) };
}

/// Sums of four channels, two for each, side by side.
type Halves = [int32x4_t; 2];

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn zero() -> Halves {
    [vdupq_n_s32(0); 2]
}

/// Two steps, which meet the codes in two lanes. Products of a code less 128 are at most 128·127, two of them fit 16
/// bits.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn two<const A: i32, const B: i32>(sums: Halves, weights: [int8x16_t; 2], codes: int8x16_t) -> Halves {
    let (a, b) = (lane::<A>(codes), lane::<B>(codes));
    let low = vmull_s8(vget_low_s8(weights[0]), vget_low_s8(a));
    let low = vmlal_s8(low, vget_low_s8(weights[1]), vget_low_s8(b));
    let high = vmlal_high_s8(vmull_high_s8(weights[0], a), weights[1], b);
    [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)]
}

/// One step, which meets the same codes in all lanes.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn one(sums: Halves, weights: int8x16_t, codes: int8x16_t) -> Halves {
    let low = vmull_s8(vget_low_s8(weights), vget_low_s8(codes));
    [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], vmull_high_s8(weights, codes))]
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn widened(sums: Halves) -> Halves {
    sums
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn total(sums: Halves) -> int32x4_t {
    vpaddq_s32(sums[0], sums[1])
}

/// The four codes of a lane, in all lanes.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn lane<const LANE: i32>(codes: int8x16_t) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(codes)))
}

sums! {
    #[target_feature(enable = "neon")]
    fn sums_2;
    0 x0, 1 x1;
    0: a0 x0 0, b0 x1 1;
    1: a1 x0 0, b1 x1 1;
    2: a2 x0 0, b2 x1 1;
    3: a3 x0 0, b3 x1 1;
}

sums! {
    #[target_feature(enable = "neon")]
    fn sums_1;
    0 x0;
    0: a0 x0 0;
    1: a1 x0 0;
    2: a2 x0 0;
    3: a3 x0 0;
}
