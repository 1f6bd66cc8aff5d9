//! What both families do alike: the parts of a tile, depthwise sums, and what becomes of sums.

use crate::kernels::blocked::{PANEL, ResidualRule, Rule, Segment, Tile};
use std::arch::wasm32::*;

/// Sums lie in the order of channels.
pub(super) const ORDER: [usize; PANEL / 4] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Sums of some channels of a panel, for some positions of a strip: the first one's codes, the channels' weights and the
/// first row of sums.
pub(super) type PartSums = unsafe fn(&Tile, *const u8, *const v128, *mut i32);

/// Computes a tile in parts of `PANEL / parts` channels, whose weights begin `distance` vectors apart; `sums` are by number
/// of positions, from 1.
///
/// # Safety
/// As for [`Isa::tile`](crate::kernels::blocked::Isa::tile), whose weights have so many parts.
#[inline(always)]
pub(super) unsafe fn in_parts(tile: &Tile, parts: usize, distance: usize, sums: &[PartSums]) {
    for part in 0..parts {
        let weights = tile.weights.cast::<v128>().wrapping_add(part * distance);
        for strip in 0..tile.count {
            let len = tile.lens[strip];
            for first in (0..len).step_by(sums.len()) {
                let place = tile.strips[strip].wrapping_add(first * tile.step);
                let row = (strip * tile.len + first) * PANEL + part * PANEL / parts;
                let row = tile.sums.wrapping_add(row);
                // SAFETY: as the caller promises; each part of each position has its own sums.
                unsafe { sums[sums.len().min(len - first) - 1](tile, place, weights, row) };
            }
        }
    }
}

/// Four vectors.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn load_four(place: *const v128) -> [v128; 4] {
    // SAFETY: as the caller promises.
    std::array::from_fn(|number| unsafe { v128_load(place.wrapping_add(number)) })
}

/// Stores four vectors.
///
/// # Safety
/// There is room for them.
#[inline(always)]
pub(super) unsafe fn store_four(place: *mut v128, vectors: [v128; 4]) {
    for (number, vector) in vectors.into_iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe { v128_store(place.wrapping_add(number), vector) };
    }
}

/// See [`Isa::depthwise`](crate::kernels::blocked::Isa::depthwise).
///
/// # Safety
/// The tile covers what its runs reach, and has a row of sums for each position.
pub(super) unsafe fn depthwise(tile: &Tile) {
    for strip in 0..tile.count {
        for position in 0..tile.lens[strip] {
            let first = tile.strips[strip].wrapping_add(position * tile.step);
            let row = tile.sums.wrapping_add((strip * tile.len + position) * PANEL);
            for half in 0..2 {
                // SAFETY: as the caller promises; a row has two halves.
                unsafe { depthwise_half(tile, first, half, row.wrapping_add(16 * half)) };
            }
        }
    }
}

/// Sums of 16 channels of a position.
///
/// # Safety
/// As for [`depthwise`]; there is room for 16 sums.
#[inline(always)]
unsafe fn depthwise_half(tile: &Tile, first: *const u8, half: usize, sums: *mut i32) {
    let mut quads = [i32x4_splat(0); 4];
    for (tap, run) in tile.runs.iter().enumerate() {
        let weights = tile.weights.wrapping_add((2 * tap + half) * 64).cast();
        // SAFETY: a tap has 32 weights of four bytes.
        let weights = unsafe { load_four(weights) };
        let codes = first.wrapping_add(run.offset as usize + 16 * half).cast();
        // SAFETY: the slot covers 32 bytes from any tap.
        let codes = unsafe { v128_load(codes) };
        let [low, high] = wide(codes);
        let codes = [
            u32x4_extend_low_u16x8(low),
            u32x4_extend_high_u16x8(low),
            u32x4_extend_low_u16x8(high),
            u32x4_extend_high_u16x8(high),
        ];
        for quad in 0..4 {
            // One of each lane's two products is of a code's upper half, which is zero.
            quads[quad] = i32x4_add(quads[quad], i32x4_dot_i16x8(codes[quad], weights[quad]));
        }
    }
    // SAFETY: as the caller promises.
    unsafe { store_four(sums.cast(), quads) };
}

/// 16 codes in two registers.
#[inline(always)]
fn wide(codes: v128) -> [v128; 2] {
    [u16x8_extend_low_u8x16(codes), u16x8_extend_high_u8x16(codes)]
}

/// See [`Isa::finish`](crate::kernels::blocked::Isa::finish).
///
/// # Safety
/// The positions are the segment's own, as far as the rule's width; sums and residual are there.
pub(super) unsafe fn finish(segment: &Segment, rule: &Rule) {
    // The output has `rule.width` channels of this panel, 16 or 32.
    for first in (0..rule.width).step_by(16) {
        let is_deep = rule.shifts[first..first + 16].iter().any(|&count| count > SHALLOW);
        let codes: unsafe fn(&Segment, &Rule, &ResidualRule, usize) = match (&rule.residual, is_deep) {
            (Some(_), false) => codes_of::<true, false>,
            (Some(_), true) => codes_of::<true, true>,
            (None, false) => codes_of::<false, false>,
            (None, true) => codes_of::<false, true>,
        };
        // SAFETY: as the caller promises.
        unsafe { codes(segment, rule, &rule.residual.unwrap_or_default(), first) };
    }
}

/// The codes of 16 channels from `first` on.
///
/// # Safety
/// As for [`finish`].
unsafe fn codes_of<const RESIDUAL: bool, const DEEP: bool>(
    segment: &Segment,
    rule: &Rule,
    by: &ResidualRule,
    first: usize,
) {
    let (low, high) = (u8x16_splat(rule.clamp[0]), u8x16_splat(rule.clamp[1]));
    let eights = [EightChannels::of(rule, first), EightChannels::of(rule, first + 8)];
    for (position, sums) in segment.sums.iter().enumerate() {
        let scaled = |eight: usize| eights[eight].scaled::<DEEP>(&sums[first + 8 * eight..][..8]);
        let mut values = [scaled(0), scaled(1)];
        if RESIDUAL {
            let place = segment.residual.wrapping_add(position * segment.residual_step + first);
            // SAFETY: the slot of the residual covers 32 bytes from any of its positions.
            let codes = unsafe { v128_load(place.cast()) };
            let [left, right] = wide(codes);
            values =
                [i16x8_add_sat(values[0], rescaled(left, by)), i16x8_add_sat(values[1], rescaled(right, by))];
        }
        let codes = u8x16_narrow_i16x8(last_shift(values[0], rule), last_shift(values[1], rule));
        let codes = u8x16_max(u8x16_min(codes, high), low);
        let place = segment.output.wrapping_add(position * segment.output_step + first);
        // SAFETY: the position is the segment's.
        unsafe { v128_store(place.cast(), codes) };
    }
}

/// Eight channels of a rule.
#[derive(Clone, Copy)]
struct EightChannels {
    bias: [v128; 2],
    shifts: [LaneShifts; 2],
    multipliers: v128,
}

impl EightChannels {
    #[inline(always)]
    fn of(rule: &Rule, first: usize) -> Self {
        let four =
            |values: &[i32; PANEL], at: usize| -> [i32; 4] { std::array::from_fn(|lane| values[at + lane]) };
        let shifts = |at: usize| LaneShifts::of(four(&rule.shifts, at));
        let multipliers = &rule.multipliers[first..][..8];
        // SAFETY: there are eight of them.
        let multipliers = unsafe { v128_load(multipliers.as_ptr().cast()) };
        Self {
            bias: [vector(four(&rule.bias, first)), vector(four(&rule.bias, first + 4))],
            shifts: [shifts(first), shifts(first + 4)],
            multipliers,
        }
    }

    /// Eight sums in units of the output.
    #[inline(always)]
    fn scaled<const DEEP: bool>(&self, sums: &[i32]) -> v128 {
        let sums = &sums[..8];
        // SAFETY: there are eight of them.
        let four = |at: usize| unsafe { v128_load(sums.as_ptr().wrapping_add(at).cast()) };
        let (low, high) = (four(0), four(4));
        let low = self.shifts[0].shifted::<DEEP>(i32x4_add(low, self.bias[0]));
        let high = self.shifts[1].shifted::<DEEP>(i32x4_add(high, self.bias[1]));
        // Saturates only where both factors are -32768, which no multiplier is.
        i16x8_q15mulr_sat(i16x8_narrow_i32x4(low, high), self.multipliers)
    }
}

#[inline(always)]
fn vector([a, b, c, d]: [i32; 4]) -> v128 {
    i32x4(a, b, c, d)
}

/// The largest count for which a shift is a product: what fits 16 bits after it, times `2^(16 − count)`, fits 32.
const SHALLOW: i32 = 16;
/// By how much larger counts are made smaller.
const DEPTH: i32 = 14;

/// Right shifts by a count of up to 30 for each lane, for which there is no instruction, saturated to 16 bits.
#[derive(Clone, Copy)]
struct LaneShifts {
    /// Lanes whose count exceeds [`SHALLOW`].
    deep: v128,
    /// What becomes the least and the greatest number of 16 bits.
    least: v128,
    most: v128,
    /// `2^(16 − count)`.
    factors: v128,
}

impl LaneShifts {
    #[inline(always)]
    fn of(counts: [i32; 4]) -> Self {
        let is_deep = counts.map(|count| count > SHALLOW);
        let counts: [i32; 4] =
            std::array::from_fn(|lane| counts[lane] - if is_deep[lane] { DEPTH } else { 0 });
        let most = counts.map(|count| i32::MAX >> (SHALLOW - count));
        Self {
            deep: vector(is_deep.map(|deep| -i32::from(deep))),
            least: vector(most.map(|most| !most)),
            most: vector(most),
            factors: vector(counts.map(|count| 1 << (SHALLOW - count))),
        }
    }

    /// Without `DEEP` no count exceeds [`SHALLOW`].
    #[inline(always)]
    fn shifted<const DEEP: bool>(&self, mut values: v128) -> v128 {
        if DEEP {
            values = v128_bitselect(i32x4_shr(values, DEPTH as u32), values, self.deep);
        }
        let within = i32x4_max(i32x4_min(values, self.most), self.least);
        i32x4_shr(i32x4_mul(within, self.factors), SHALLOW as u32)
    }
}

/// Results without fraction bits, the zero point added.
#[inline(always)]
fn last_shift(value: v128, rule: &Rule) -> v128 {
    i16x8_shr(i16x8_add_sat(value, i16x8_splat(rule.offset)), u32::from(rule.fraction))
}

/// Distances from zero in units of the output.
#[inline(always)]
fn rescaled(codes: v128, by: &ResidualRule) -> v128 {
    let distance = i16x8_sub(codes, i16x8_splat(by.zero_point));
    i16x8_q15mulr_sat(i16x8_shl(distance, u32::from(by.shift)), i16x8_splat(by.multiplier))
}
