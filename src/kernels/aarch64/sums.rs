//! The shape of all tiles: half a panel, 16 channels in four quads of sums, for some positions of a strip.

use crate::kernels::blocked::{PANEL, STRIPS, Tile};
use std::arch::asm;

/// Sums of half a panel for the first strip of a tile, which has only so many positions.
///
/// # Safety
/// As [`Tile`] says, for this strip, with half of the weights of every step from `weights` on and half a row of sums for
/// every position.
pub(super) type HalfSums = unsafe fn(&Tile);

/// Computes a tile in parts. The halves of a panel begin `distance` bytes apart; `sums` are by number of positions,
/// from 1.
///
/// # Safety
/// As [`Tile`] says; the CPU has the instructions of `sums`.
pub(super) unsafe fn in_parts(tile: &Tile, distance: usize, sums: &[HalfSums]) {
    for half in 0..2 {
        for strip in 0..tile.count {
            let len = tile.lens[strip];
            for first in (0..len).step_by(sums.len()) {
                let place = tile.strips[strip].wrapping_add(first * tile.step);
                let row = (strip * tile.len + first) * PANEL + half * PANEL / 2;
                let part = Tile {
                    strips: [place; STRIPS],
                    weights: tile.weights.wrapping_add(half * distance),
                    lines: if half + strip + first == 0 { tile.lines } else { 0 },
                    sums: tile.sums.wrapping_add(row),
                    ..*tile
                };
                // SAFETY: as the caller promises; each half of each position has its own half row of sums.
                unsafe { sums[sums.len().min(len - first) - 1](&part) };
            }
        }
    }
}

/// Brings the line of `address` into the second-level cache.
#[inline(always)]
pub(super) fn fetch(address: *const i8) {
    // SAFETY: prefetching reads nothing, whatever the address.
    unsafe { asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Defines a function that computes the sums of half a panel with the `zero`, `codes`, `four_codes`, `two`, `one`, `widened`
/// (at the end of a run) and `total` of its family.
///
/// First the codes of each position, then each quad with its sums, one for each position. Every register is a variable
/// of its own.
macro_rules! sums {
    (
        $(#[$feature:meta])* fn $name:ident;
        $($position:literal $codes:ident),+;
        $($quad:literal: $($sum:ident $sum_codes:ident $sum_position:literal),+;)+
    ) => {
        /// # Safety
        /// As [`HalfSums`] says.
        $(#[$feature])*
        unsafe fn $name(tile: &Tile) {
            $($(let mut $sum = zero();)+)+
            // Vectors of four channels; a step has eight of them, of which this half has four.
            let mut weights: *const i8 = tile.weights;
            let mut ahead = tile.ahead;
            let origin = vdupq_n_u8(tile.origin);
            for run in tile.runs {
                for _ in 0..tile.lines {
                    fetch(ahead);
                    ahead = ahead.wrapping_add(64);
                }
                let mut strip = tile.strips[0].wrapping_add(run.offset as usize);
                for _ in 0..run.steps / 4 {
                    $(
                        let place = strip.wrapping_add($position * tile.step);
                        // SAFETY: four steps of a position.
                        let $codes = unsafe { codes(place, origin) };
                    )+
                    $(
                        let place = weights.wrapping_add(16 * $quad);
                        // SAFETY: the panel holds 128 bytes for each step, of which this half has 64.
                        let first = unsafe { vld1q_s8(place) };
                        // SAFETY: the second step.
                        let second = unsafe { vld1q_s8(place.wrapping_add(4 * PANEL)) };
                        $($sum = two::<0, 1>($sum, [first, second], $sum_codes);)+
                    )+
                    $(
                        let place = weights.wrapping_add(8 * PANEL + 16 * $quad);
                        // SAFETY: the third step.
                        let first = unsafe { vld1q_s8(place) };
                        // SAFETY: the fourth step.
                        let second = unsafe { vld1q_s8(place.wrapping_add(4 * PANEL)) };
                        $($sum = two::<2, 3>($sum, [first, second], $sum_codes);)+
                    )+
                    weights = weights.wrapping_add(16 * PANEL);
                    strip = strip.wrapping_add(16);
                }
                for _ in 0..run.steps % 4 {
                    $(
                        let place = strip.wrapping_add($position * tile.step);
                        // SAFETY: a step of a position.
                        let $codes = unsafe { four_codes(place, origin) };
                    )+
                    $(
                        // SAFETY: the panel holds 128 bytes for each step, of which this half has 64.
                        let step = unsafe { vld1q_s8(weights.wrapping_add(16 * $quad)) };
                        $($sum = one($sum, step, $sum_codes);)+
                    )+
                    weights = weights.wrapping_add(4 * PANEL);
                    strip = strip.wrapping_add(4);
                }
                $($($sum = widened($sum);)+)+
            }
            $($(
                // SAFETY: half a row of sums for each position.
                unsafe { vst1q_s32(tile.sums.wrapping_add($sum_position * PANEL + 4 * $quad), total($sum)) };
            )+)+
        }
    };
}

pub(super) use sums;
