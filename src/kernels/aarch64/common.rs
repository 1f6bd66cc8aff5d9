//! What all families do alike: reading codes, depthwise sums, and what becomes of sums.

use crate::kernels::blocked::{PANEL, ResidualRule, Rule, Segment, Tile};
use std::arch::aarch64::*;

/// Sums lie in the order of channels.
pub(super) const ORDER: [usize; PANEL / 4] = [0, 1, 2, 3, 4, 5, 6, 7];

/// 16 codes less `origin`, which is 128 or 0.
///
/// # Safety
/// 16 bytes may be read at `place`; nobody writes them.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn codes(place: *const u8, origin: uint8x16_t) -> int8x16_t {
    // SAFETY: as the caller promises.
    vreinterpretq_s8_u8(veorq_u8(unsafe { vld1q_u8(place) }, origin))
}

/// Four codes less `origin`, four times.
///
/// # Safety
/// Four bytes may be read at `place`; nobody writes them.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn four_codes(place: *const u8, origin: uint8x16_t) -> int8x16_t {
    // SAFETY: as the caller promises.
    let four = vdupq_n_u32(unsafe { place.cast::<u32>().read_unaligned() });
    vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(four), origin))
}

/// 16 codes in two registers.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn wide(codes: uint8x16_t) -> [int16x8_t; 2] {
    [vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes))), vreinterpretq_s16_u16(vmovl_high_u8(codes))]
}

/// # Safety
/// As [`Tile`] says.
#[target_feature(enable = "neon")]
pub(super) unsafe fn depthwise(tile: &Tile) {
    for strip in 0..tile.count {
        for position in 0..tile.lens[strip] {
            let first = tile.strips[strip].wrapping_add(position * tile.step);
            let row = tile.sums.wrapping_add((strip * tile.len + position) * PANEL);
            // SAFETY: as the caller promises; there are `count · len` rows of two halves.
            unsafe { depthwise_half(tile, first, 0, row) };
            // SAFETY: the same.
            unsafe { depthwise_half(tile, first, 1, row.wrapping_add(16)) };
        }
    }
}

/// Sums of 16 channels of a position.
///
/// # Safety
/// As [`Tile`] says, with the position's bytes from `first` on and half a row of sums.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn depthwise_half(tile: &Tile, first: *const u8, half: usize, sums: *mut i32) {
    let mut quads = [vdupq_n_s32(0); 4];
    for (tap, run) in tile.runs.iter().enumerate() {
        let weights: *const [int32x4_t; 4] = tile.weights.wrapping_add((2 * tap + half) * 64).cast();
        // SAFETY: a tap has 32 weights of four bytes.
        let weights = unsafe { weights.read() };
        // SAFETY: `PANEL` bytes may be read at every tap.
        let codes = unsafe { vld1q_u8(first.wrapping_add(run.offset as usize + 16 * half)) };
        // Weights fit 16 bits.
        let ([low, high], weights) = (wide(codes), weights.map(|quad| vmovn_s32(quad)));
        quads[0] = vmlal_s16(quads[0], vget_low_s16(low), weights[0]);
        quads[1] = vmlal_s16(quads[1], vget_high_s16(low), weights[1]);
        quads[2] = vmlal_s16(quads[2], vget_low_s16(high), weights[2]);
        quads[3] = vmlal_s16(quads[3], vget_high_s16(high), weights[3]);
    }
    // SAFETY: there is room for 16 sums.
    unsafe { sums.cast::<[int32x4_t; 4]>().write(quads) };
}

/// 16 channels of all positions, then the others.
///
/// # Safety
/// As [`Segment`] says.
#[target_feature(enable = "neon")]
pub(super) unsafe fn finish(segment: &Segment, rule: &Rule) {
    // The output has `rule.width` channels of this panel, 16 or 32.
    for first in (0..rule.width).step_by(16) {
        match &rule.residual {
            // SAFETY: as the caller promises.
            Some(by) => unsafe { codes_of::<true>(segment, rule, by, first) },
            // SAFETY: as the caller promises.
            None => unsafe { codes_of::<false>(segment, rule, &ResidualRule::default(), first) },
        }
    }
}

/// The codes of 16 channels from `first` on.
///
/// # Safety
/// As [`Segment`] says; `RESIDUAL` says whether there is one, and the rule has these channels.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn codes_of<const RESIDUAL: bool>(segment: &Segment, rule: &Rule, by: &ResidualRule, first: usize) {
    let (low, high) = (vdupq_n_u8(rule.clamp[0]), vdupq_n_u8(rule.clamp[1]));
    let eights = [Eight::of(rule, first), Eight::of(rule, first + 8)];
    for (position, sums) in segment.sums.iter().enumerate() {
        let mut values = [eights[0].scaled(sums, first), eights[1].scaled(sums, first + 8)];
        if RESIDUAL {
            let codes = segment.residual.wrapping_add(position * segment.residual_step + first);
            // SAFETY: the residual has `PANEL` codes at every position.
            let codes = unsafe { vld1q_u8(codes) };
            let others = wide(codes).map(|codes| rescaled(codes, by));
            values = [vqaddq_s16(values[0], others[0]), vqaddq_s16(values[1], others[1])];
        }
        let [left, right] = values.map(|value| narrow(value, rule));
        let codes = vmaxq_u8(vminq_u8(vcombine_u8(left, right), high), low);
        let target = segment.output.wrapping_add(position * segment.output_step + first);
        // SAFETY: the position's codes, 16 of as many as the rule says.
        unsafe { vst1q_u8(target, codes) };
    }
}

/// Four of a panel's numbers, from `first` on.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn four(numbers: &[i32; PANEL], first: usize) -> int32x4_t {
    let four = &numbers[first..][..4];
    // SAFETY: four numbers of four bytes are one register.
    unsafe { vld1q_s32(four.as_ptr()) }
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
    /// # Safety
    /// The CPU has NEON.
    #[inline]
    #[target_feature(enable = "neon")]
    fn of(rule: &Rule, first: usize) -> Self {
        let multipliers = &rule.multipliers[first..][..8];
        Self {
            bias: [four(&rule.bias, first), four(&rule.bias, first + 4)],
            shifts: [vnegq_s32(four(&rule.shifts, first)), vnegq_s32(four(&rule.shifts, first + 4))],
            // SAFETY: eight numbers of two bytes are one register.
            multipliers: unsafe { vld1q_s16(multipliers.as_ptr()) },
        }
    }

    /// Eight sums in units of the output.
    ///
    /// # Safety
    /// The CPU has NEON.
    #[inline]
    #[target_feature(enable = "neon")]
    fn scaled(&self, sums: &[i32; PANEL], first: usize) -> int16x8_t {
        let left = vshlq_s32(vaddq_s32(four(sums, first), self.bias[0]), self.shifts[0]);
        let right = vshlq_s32(vaddq_s32(four(sums, first + 4), self.bias[1]), self.shifts[1]);
        vqrdmulhq_s16(vqmovn_high_s32(vqmovn_s32(left), right), self.multipliers)
    }
}

/// Distances from zero in units of the output.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn rescaled(codes: int16x8_t, by: &ResidualRule) -> int16x8_t {
    let distance = vsubq_s16(codes, vdupq_n_s16(by.zero_point));
    vqrdmulhq_s16(vshlq_s16(distance, vdupq_n_s16(i16::from(by.shift))), vdupq_n_s16(by.multiplier))
}

/// Codes of results with fraction bits.
///
/// # Safety
/// The CPU has NEON.
#[inline]
#[target_feature(enable = "neon")]
fn narrow(value: int16x8_t, rule: &Rule) -> uint8x8_t {
    let value = vqaddq_s16(value, vdupq_n_s16(rule.offset));
    vqmovun_s16(vshlq_s16(value, vdupq_n_s16(-i16::from(rule.fraction))))
}
