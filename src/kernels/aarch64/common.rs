//! What all families do alike: reading codes, depthwise sums, and what becomes of sums.

use crate::kernels::blocked::{PANEL, ResidualRule, Rule, Segment, Tile};
use std::arch::aarch64::*;

/// Sums lie in the order of channels.
pub(super) const ORDER: [usize; PANEL / 4] = [0, 1, 2, 3, 4, 5, 6, 7];

/// 16 codes less `origin`, which is 128 or 0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn codes(place: *const u8, origin: uint8x16_t) -> int8x16_t {
    // SAFETY: as the caller promises.
    vreinterpretq_s8_u8(veorq_u8(unsafe { vld1q_u8(place) }, origin))
}

/// Four codes less `origin`, four times.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn four_codes(place: *const u8, origin: uint8x16_t) -> int8x16_t {
    // SAFETY: as the caller promises.
    let four = vdupq_n_u32(unsafe { place.cast::<u32>().read_unaligned() });
    vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(four), origin))
}

/// 16 codes in two registers.
#[inline]
#[target_feature(enable = "neon")]
fn wide(codes: uint8x16_t) -> [int16x8_t; 2] {
    [vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes))), vreinterpretq_s16_u16(vmovl_high_u8(codes))]
}

#[target_feature(enable = "neon")]
pub(super) unsafe fn depthwise(tile: &Tile) {
    for strip in 0..tile.count {
        for position in 0..tile.lens[strip] {
            let first = tile.strips[strip].wrapping_add(position * tile.step);
            let row = tile.sums.wrapping_add((strip * tile.len + position) * PANEL);
            // SAFETY: as the caller promises; there are `count · len` rows of two halves.
            unsafe {
                depthwise_half(tile, first, 0, row);
                depthwise_half(tile, first, 1, row.add(16));
            }
        }
    }
}

/// Sums of 16 channels of a position.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn depthwise_half(tile: &Tile, first: *const u8, half: usize, sums: *mut i32) {
    let mut quads = [vdupq_n_s32(0); 4];
    for (tap, run) in tile.runs.iter().enumerate() {
        // SAFETY: a tap has 32 weights of four bytes; the slot covers 32 bytes from any tap.
        let (codes, weights) = unsafe {
            let weights: *const i32 = tile.weights.add((2 * tap + half) * 64).cast();
            let quads = [0, 4, 8, 12].map(|place| vld1q_s32(weights.add(place)));
            (vld1q_u8(first.add(run.offset as usize + 16 * half)), quads)
        };
        // Weights fit 16 bits.
        let ([low, high], weights) = (wide(codes), weights.map(|quad| vmovn_s32(quad)));
        quads[0] = vmlal_s16(quads[0], vget_low_s16(low), weights[0]);
        quads[1] = vmlal_s16(quads[1], vget_high_s16(low), weights[1]);
        quads[2] = vmlal_s16(quads[2], vget_low_s16(high), weights[2]);
        quads[3] = vmlal_s16(quads[3], vget_high_s16(high), weights[3]);
    }
    for (quad, sum) in quads.into_iter().enumerate() {
        // SAFETY: there is room for 16 sums.
        unsafe { vst1q_s32(sums.add(4 * quad), sum) };
    }
}

/// 16 channels of all positions, then the others.
#[target_feature(enable = "neon")]
pub(super) unsafe fn finish(segment: &Segment, rule: &Rule) {
    // The output has `rule.width` channels of this panel, 16 or 32.
    for first in (0..rule.width).step_by(16) {
        // SAFETY: as the caller promises.
        unsafe {
            match &rule.residual {
                Some(by) => codes_of::<true>(segment, rule, by, first),
                None => codes_of::<false>(segment, rule, &ResidualRule::default(), first),
            }
        }
    }
}

/// The codes of 16 channels from `first` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn codes_of<const RESIDUAL: bool>(segment: &Segment, rule: &Rule, by: &ResidualRule, first: usize) {
    let (low, high) = (vdupq_n_u8(rule.clamp[0]), vdupq_n_u8(rule.clamp[1]));
    // SAFETY: a rule has 32 channels.
    let eights = unsafe { [Eight::of(rule, first), Eight::of(rule, first + 8)] };
    for position in 0..segment.count {
        // SAFETY: a row has 32 sums.
        let mut values = unsafe {
            let sums = segment.sums.add(position * PANEL + first);
            [eights[0].scaled(sums), eights[1].scaled(sums.add(8))]
        };
        if RESIDUAL {
            // SAFETY: the slot of the residual covers 32 bytes from any of its positions.
            let codes = unsafe { vld1q_u8(segment.residual.add(position * segment.residual_step + first)) };
            let others = wide(codes).map(|codes| rescaled(codes, by));
            values = [vqaddq_s16(values[0], others[0]), vqaddq_s16(values[1], others[1])];
        }
        let [left, right] = values.map(|value| narrow(value, rule));
        let codes = vmaxq_u8(vminq_u8(vcombine_u8(left, right), high), low);
        // SAFETY: the position is the segment's.
        unsafe { vst1q_u8(segment.output.add(position * segment.output_step + first), codes) };
    }
}

/// Eight channels of a rule.
#[derive(Clone, Copy)]
struct Eight {
    bias: [int32x4_t; 2],
    /// Negative left shifts.
    shifts: [int32x4_t; 2],
    multipliers: int16x8_t,
}

impl Eight {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn of(rule: &Rule, first: usize) -> Self {
        // SAFETY: as the caller promises, the rule has eight channels from `first` on.
        unsafe {
            let (bias, shifts) = (rule.bias.as_ptr().add(first), rule.shifts.as_ptr().add(first));
            Self {
                bias: [vld1q_s32(bias), vld1q_s32(bias.add(4))],
                shifts: [vnegq_s32(vld1q_s32(shifts)), vnegq_s32(vld1q_s32(shifts.add(4)))],
                multipliers: vld1q_s16(rule.multipliers.as_ptr().add(first)),
            }
        }
    }

    /// Eight sums in units of the output.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scaled(&self, sums: *const i32) -> int16x8_t {
        // SAFETY: as the caller promises.
        let sums = unsafe { [vld1q_s32(sums), vld1q_s32(sums.add(4))] };
        let left = vshlq_s32(vaddq_s32(sums[0], self.bias[0]), self.shifts[0]);
        let right = vshlq_s32(vaddq_s32(sums[1], self.bias[1]), self.shifts[1]);
        vqrdmulhq_s16(vqmovn_high_s32(vqmovn_s32(left), right), self.multipliers)
    }
}

/// Distances from zero in units of the output.
#[inline]
#[target_feature(enable = "neon")]
fn rescaled(codes: int16x8_t, by: &ResidualRule) -> int16x8_t {
    let distance = vsubq_s16(codes, vdupq_n_s16(by.zero_point));
    vqrdmulhq_s16(vshlq_s16(distance, vdupq_n_s16(i16::from(by.shift))), vdupq_n_s16(by.multiplier))
}

/// Codes of results with fraction bits.
#[inline]
#[target_feature(enable = "neon")]
fn narrow(value: int16x8_t, rule: &Rule) -> uint8x8_t {
    let value = vqaddq_s16(value, vdupq_n_s16(rule.offset));
    vqmovun_s16(vshlq_s16(value, vdupq_n_s16(-i16::from(rule.fraction))))
}
