//! NEON without dot products, where products of a whole run are summed in 16 bits: 2 positions × 16 channels in 24
//! registers.

use super::common::{codes, four_codes};
use super::neon::lane;
use super::sums::{HalfSums, fetch, sums};
use crate::kernels::blocked::{PANEL, Tile};
use std::arch::aarch64::*;

/// By number of positions, from 1.
pub(super) const SUMS: [HalfSums; 2] = [sums_1, sums_2];

/// Sums of four channels: those of the run, four for each channel, and those of all runs before.
#[derive(Clone, Copy)]
struct ChannelSums {
    run: [int16x8_t; 2],
    before: int32x4_t,
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn zero() -> ChannelSums {
    ChannelSums { run: [vdupq_n_s16(0); 2], before: vdupq_n_s32(0) }
}

/// Two steps, which meet the codes in two lanes.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn two<const A: i32, const B: i32>(
    sums: ChannelSums,
    weights: [int8x16_t; 2],
    codes: int8x16_t,
) -> ChannelSums {
    one(one(sums, weights[0], lane::<A>(codes)), weights[1], lane::<B>(codes))
}

/// One step, which meets the same codes in all lanes.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn one(sums: ChannelSums, weights: int8x16_t, codes: int8x16_t) -> ChannelSums {
    let [low, high] = sums.run;
    let low = vmlal_s8(low, vget_low_s8(weights), vget_low_s8(codes));
    ChannelSums { run: [low, vmlal_high_s8(high, weights, codes)], ..sums }
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn widened(sums: ChannelSums) -> ChannelSums {
    let [low, high] = sums.run.map(|sums| vpaddlq_s16(sums));
    ChannelSums { run: [vdupq_n_s16(0); 2], before: vaddq_s32(sums.before, vpaddq_s32(low, high)) }
}

/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn total(sums: ChannelSums) -> int32x4_t {
    sums.before
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
