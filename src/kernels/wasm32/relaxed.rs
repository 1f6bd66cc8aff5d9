//! Products summed in 16 bits as long as they share a scale: 2 positions × 16 channels in 8 registers.
//!
//! `i16x8.relaxed_dot_i8x16_i7x16_s` may take its second factors, where they exceed 127, for signed or for unsigned
//! numbers. Which one an engine does, it always does; [`adds_pairs_unsigned`] asks it, as one asks a CPU what it has. Codes
//! are unsigned numbers of 8 bits, so these kernels are for engines that take them so, which are those on x86-64.

use super::common::{ORDER, PartSums, depthwise, finish, in_parts, load_four, store_four};
use super::peak;
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, Tile};
use crate::wide::Width;
use std::arch::wasm32::*;
use std::hint::black_box;

/// See [`Isa`].
pub(in crate::kernels) static RELAXED_SIMD: Isa = Isa {
    strips: &[16, 14, 12, 10, 8, 6, 4, 2, 1],
    shortens: true,
    form: Form::Scaled,
    width: Width::BASELINE,
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the engine has the instructions; the functions keep to what they must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply: peak::relaxed,
};

/// Whether the engine adds pairs of products of unsigned codes with signed weights.
pub(in crate::kernels) fn adds_pairs_unsigned() -> bool {
    let (codes, weights) = (black_box(u8x16_splat(255)), black_box(i8x16_splat(-64)));
    i16x8_extract_lane::<0>(pair_dot(weights, codes)) == -2 * 64 * 255
}

/// Products of weights with codes, neighbours added, which [`Form::Scaled`] keeps within 16 bits.
#[inline(always)]
fn pair_dot(weights: v128, codes: v128) -> v128 {
    i16x8_relaxed_dot_i8x16_i7x16(weights, codes)
}

/// # Safety
/// See [`Isa::tile`].
unsafe fn tile(tile: &Tile) {
    let half_panel: usize = tile.runs.iter().map(|run| 4 * (run.steps as usize + 1)).sum();
    let single_steps = half_panel == 8 * tile.runs.len();
    // SAFETY: as the caller promises; half a panel has four vectors for each step and four of scales.
    unsafe { in_parts(tile, 2, half_panel, if single_steps { &STEP } else { &SCALED }) };
}

/// By number of positions, from 1.
const SCALED: [PartSums; 2] = [scaled_1, scaled_2];
const STEP: [PartSums; 2] = [step_1, step_2];

/// Defines the sums of half a panel for some positions of a strip, with 16-bit sums under one scale; 32-bit sums, needed
/// once a run, lie in memory.
///
/// Runs are so short that sums of their pairs of products fit 16 bits; see [`Form::Scaled`].
macro_rules! scaled_sums {
    (fn $name:ident; $($position:literal: $a:ident $b:ident $c:ident $d:ident;)+) => {
        /// # Safety
        /// See [`PartSums`]: half a panel has four vectors for each step and four of scales, the slot covers all that
        /// runs reach.
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const v128, sums: *mut i32) {
            let zero = i16x8_splat(0);
            $(
                // SAFETY: as the caller promises.
                unsafe { store_four(sums.wrapping_add($position * PANEL).cast(), [zero; 4]) };
            )+
            for run in tile.runs {
                $(let [mut $a, mut $b, mut $c, mut $d] = [zero; 4];)+
                let mut bytes = strip.wrapping_add(run.offset as usize);
                for _ in 0..run.steps {
                    // SAFETY: as the caller promises.
                    let [w0, w1, w2, w3] = unsafe { load_four(weights) };
                    $(
                        let place = bytes.wrapping_add($position * tile.step).cast();
                        // SAFETY: as the caller promises.
                        let codes = unsafe { v128_load32_splat(place) };
                        $a = i16x8_add($a, pair_dot(w0, codes));
                        $b = i16x8_add($b, pair_dot(w1, codes));
                        $c = i16x8_add($c, pair_dot(w2, codes));
                        $d = i16x8_add($d, pair_dot(w3, codes));
                    )+
                    weights = weights.wrapping_add(4);
                    bytes = bytes.wrapping_add(4);
                }
                // SAFETY: as the caller promises.
                let [s0, s1, s2, s3] = unsafe { load_four(weights) };
                $(
                    let row: *mut v128 = sums.wrapping_add($position * PANEL).cast();
                    // SAFETY: as the caller promises.
                    let [a, b, c, d] = unsafe { load_four(row) };
                    let a = i32x4_add(a, i32x4_dot_i16x8($a, s0));
                    let b = i32x4_add(b, i32x4_dot_i16x8($b, s1));
                    let c = i32x4_add(c, i32x4_dot_i16x8($c, s2));
                    let d = i32x4_add(d, i32x4_dot_i16x8($d, s3));
                    // SAFETY: as the caller promises.
                    unsafe { store_four(row, [a, b, c, d]) };
                )+
                weights = weights.wrapping_add(4);
                // Sums stay in memory; the compiler would copy them to the stack besides.
                black_box(());
            }
        }
    };
}

scaled_sums! { fn scaled_2; 0: a0 b0 c0 d0; 1: a1 b1 c1 d1; }
scaled_sums! { fn scaled_1; 0: a0 b0 c0 d0; }

/// Defines the same for runs of one step each, whose products are scaled at once.
macro_rules! step_sums {
    (fn $name:ident; $($position:literal: $a:ident $b:ident $c:ident $d:ident;)+) => {
        /// # Safety
        /// See [`PartSums`]: half a panel has four vectors for each step and four of scales, the slot covers all that
        /// runs reach.
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const v128, sums: *mut i32) {
            $(let [mut $a, mut $b, mut $c, mut $d] = [i32x4_splat(0); 4];)+
            for run in tile.runs {
                let bytes = strip.wrapping_add(run.offset as usize);
                // SAFETY: as the caller promises.
                let [w0, w1, w2, w3] = unsafe { load_four(weights) };
                // SAFETY: as the caller promises.
                let [s0, s1, s2, s3] = unsafe { load_four(weights.wrapping_add(4)) };
                $(
                    let place = bytes.wrapping_add($position * tile.step).cast();
                    // SAFETY: as the caller promises.
                    let codes = unsafe { v128_load32_splat(place) };
                    $a = i32x4_add($a, i32x4_dot_i16x8(pair_dot(w0, codes), s0));
                    $b = i32x4_add($b, i32x4_dot_i16x8(pair_dot(w1, codes), s1));
                    $c = i32x4_add($c, i32x4_dot_i16x8(pair_dot(w2, codes), s2));
                    $d = i32x4_add($d, i32x4_dot_i16x8(pair_dot(w3, codes), s3));
                )+
                weights = weights.wrapping_add(8);
            }
            $(
                // SAFETY: as the caller promises.
                unsafe { store_four(sums.wrapping_add($position * PANEL).cast(), [$a, $b, $c, $d]) };
            )+
        }
    };
}

step_sums! { fn step_2; 0: a0 b0 c0 d0; 1: a1 b1 c1 d1; }
step_sums! { fn step_1; 0: a0 b0 c0 d0; }
