//! NEON with matrix products: 4 positions × 16 channels in 16 registers.

use super::common::{ORDER, depthwise, finish};
use super::peak;
use super::sums::{HalfSums, fetch, in_parts};
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, Tile};
use crate::wide::Width;
use std::arch::aarch64::*;
use std::arch::asm;

/// See [`Isa`].
pub(super) static NEON_I8MM: Isa = Isa {
    strips: &[4, 2],
    shortens: true,
    form: Form::Eights,
    width: Width::BASELINE,
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the CPU has NEON and matrix products, which the functions below need; they keep to what they
    // must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply: peak::i8mm,
};

/// By number of positions, from 1; only even ones occur.
const SUMS: [HalfSums; 4] = [sums_2, sums_2, sums_4, sums_4];

/// # Safety
/// As [`Tile`] says.
unsafe fn tile(tile: &Tile) {
    // SAFETY: as the caller promises.
    unsafe { in_parts(tile, 4 * PANEL, &SUMS) };
}

/// Sums of two positions, each with two channels. `usmmla` has no stable intrinsic.
///
/// # Safety
/// The CPU has NEON and matrix products.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn product(mut sums: int32x4_t, codes: uint8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: the CPU has the instruction; only the register named as output is written.
    unsafe {
        asm!(
            "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums, in(vreg) codes, in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Eight codes of two positions, then the eight that follow them.
///
/// # Safety
/// 16 bytes may be read at `place` and `step` bytes behind it; nobody writes them.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn pairs(place: *const u8, step: usize) -> [uint8x16_t; 2] {
    // SAFETY: as the caller promises.
    let first = unsafe { vld1q_u8(place) };
    // SAFETY: as the caller promises.
    let second = unsafe { vld1q_u8(place.wrapping_add(step)) };
    let (first, second) = (vreinterpretq_u64_u8(first), vreinterpretq_u64_u8(second));
    [vzip1q_u64(first, second), vzip2q_u64(first, second)].map(|pair| vreinterpretq_u8_u64(pair))
}

/// The weights of eight bytes and four channels.
///
/// # Safety
/// 32 bytes may be read at `place`; nobody writes them.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn eights(place: *const i8) -> [int8x16_t; 2] {
    // SAFETY: as the caller promises.
    let first = unsafe { vld1q_s8(place) };
    // SAFETY: as the caller promises.
    [first, unsafe { vld1q_s8(place.wrapping_add(16)) }]
}

/// Four channels of one position and of the next.
///
/// # Safety
/// The CPU has NEON and matrix products.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn rows(left: int32x4_t, right: int32x4_t) -> [int32x4_t; 2] {
    let (left, right) = (vreinterpretq_s64_s32(left), vreinterpretq_s64_s32(right));
    [vzip1q_s64(left, right), vzip2q_s64(left, right)].map(|row| vreinterpretq_s32_s64(row))
}

/// Defines a function that computes the sums of half a panel.
///
/// First the codes of each pair of positions, then each quad of channels with its sums: the first and the last two
/// channels, for each pair of positions. Every register is a variable of its own.
macro_rules! sums {
    (
        fn $name:ident;
        $($position:literal $codes:ident),+;
        $($quad:literal: $($left:ident $right:ident $of:ident $at:literal),+;)+
    ) => {
        /// # Safety
        /// As [`HalfSums`] says.
        #[target_feature(enable = "neon,i8mm")]
        unsafe fn $name(tile: &Tile) {
            $($(let (mut $left, mut $right) = (vdupq_n_s32(0), vdupq_n_s32(0));)+)+
            let (mut weights, mut ahead) = (tile.weights, tile.ahead);
            for run in tile.runs {
                for _ in 0..tile.lines {
                    fetch(ahead);
                    ahead = ahead.wrapping_add(64);
                }
                let mut strip = tile.strips[0].wrapping_add(run.offset as usize);
                for _ in 0..run.steps / 4 {
                    $(
                        let place = strip.wrapping_add($position * tile.step);
                        // SAFETY: four steps of two positions.
                        let $codes = unsafe { pairs(place, tile.step) };
                    )+
                    $(
                        // SAFETY: the panel holds 256 bytes for each two steps, of which this half has 128.
                        let [first, second] = unsafe { eights(weights.wrapping_add(32 * $quad)) };
                        $($left = product($left, $of[0], first);)+
                        $($right = product($right, $of[0], second);)+
                    )+
                    weights = weights.wrapping_add(8 * PANEL);
                    $(
                        // SAFETY: the same, of the next two steps.
                        let [first, second] = unsafe { eights(weights.wrapping_add(32 * $quad)) };
                        $($left = product($left, $of[1], first);)+
                        $($right = product($right, $of[1], second);)+
                    )+
                    weights = weights.wrapping_add(8 * PANEL);
                    strip = strip.wrapping_add(16);
                }
                if run.steps % 4 != 0 {
                    $(
                        let place = strip.wrapping_add($position * tile.step);
                        // SAFETY: the last steps of two positions may be read in whole registers.
                        let $codes = unsafe { pairs(place, tile.step) };
                    )+
                    $(
                        // SAFETY: the panel holds 256 bytes for each two steps, of which this half has 128.
                        let [first, second] = unsafe { eights(weights.wrapping_add(32 * $quad)) };
                        $($left = product($left, $of[0], first);)+
                        $($right = product($right, $of[0], second);)+
                    )+
                    weights = weights.wrapping_add(8 * PANEL);
                }
            }
            $($(
                let [row, next] = rows($left, $right);
                // SAFETY: half a row of sums for each position.
                unsafe { vst1q_s32(tile.sums.wrapping_add($at * PANEL + 4 * $quad), row) };
                // SAFETY: half a row of sums for each position.
                unsafe { vst1q_s32(tile.sums.wrapping_add(($at + 1) * PANEL + 4 * $quad), next) };
            )+)+
        }
    };
}

sums! {
    fn sums_4;
    0 x0, 2 x2;
    0: a0 b0 x0 0, c0 d0 x2 2;
    1: a1 b1 x0 0, c1 d1 x2 2;
    2: a2 b2 x0 0, c2 d2 x2 2;
    3: a3 b3 x0 0, c3 d3 x2 2;
}

sums! {
    fn sums_2;
    0 x0;
    0: a0 b0 x0 0;
    1: a1 b1 x0 0;
    2: a2 b2 x0 0;
    3: a3 b3 x0 0;
}
