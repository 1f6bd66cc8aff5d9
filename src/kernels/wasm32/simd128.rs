//! Products in 16 bits, summed in 32: 2 positions × 8 channels in 8 registers.

use super::common::{ORDER, depthwise, finish, in_parts};
use super::{common::PartSums, peak};
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, Tile};
use crate::wide::Width;
use std::arch::wasm32::*;

/// See [`Isa`].
pub(in crate::kernels) static SIMD128: Isa = Isa {
    strips: &[8, 7, 6, 5, 4, 3, 2, 1],
    shortens: true,
    form: Form::Plain,
    width: Width::BASELINE,
    order: ORDER,
    mode: None,
    // SAFETY: the crate is compiled with the instructions; the functions keep to what they must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply: peak::simd128,
};

/// By number of positions, from 1.
const SUMS: [PartSums; 2] = [sums_1, sums_2];
/// Vectors of weights of a step.
const STEP: usize = 4 * PANEL / 16;

/// # Safety
/// See [`Isa::tile`].
unsafe fn tile(tile: &Tile) {
    // SAFETY: as the caller promises; a quarter of a step has two vectors.
    unsafe { in_parts(tile, 4, 2, &SUMS) };
}

/// Defines the sums of 8 channels for some positions of a strip. Each register has two sums for each of two channels, of
/// their first and their last two products of a step.
macro_rules! sums {
    (fn $name:ident; $($position:literal: $a:ident $b:ident $c:ident $d:ident;)+) => {
        /// # Safety
        /// See [`PartSums`]: the panel has `STEP` vectors for each step, the slot covers all that runs reach.
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const v128, sums: *mut i32) {
            $(let [mut $a, mut $b, mut $c, mut $d] = [i32x4_splat(0); 4];)+
            for run in tile.runs {
                let mut bytes = strip.wrapping_add(run.offset as usize);
                for _ in 0..run.steps {
                    let eights = weights.cast::<i8>();
                    // SAFETY: as the caller promises.
                    let eight = |at: usize| unsafe { i16x8_load_extend_i8x8(eights.wrapping_add(8 * at)) };
                    let (w0, w1, w2, w3) = (eight(0), eight(1), eight(2), eight(3));
                    $(
                        let place = bytes.wrapping_add($position * tile.step).cast();
                        // SAFETY: as the caller promises.
                        let four = unsafe { v128_load32_splat(place) };
                        let codes = u16x8_extend_low_u8x16(four);
                        $a = i32x4_add($a, i32x4_dot_i16x8(codes, w0));
                        $b = i32x4_add($b, i32x4_dot_i16x8(codes, w1));
                        $c = i32x4_add($c, i32x4_dot_i16x8(codes, w2));
                        $d = i32x4_add($d, i32x4_dot_i16x8(codes, w3));
                    )+
                    weights = weights.wrapping_add(STEP);
                    bytes = bytes.wrapping_add(4);
                }
            }
            $(
                let row: *mut v128 = sums.wrapping_add($position * PANEL).cast();
                for (number, sums) in [pair_sums($a, $b), pair_sums($c, $d)].into_iter().enumerate() {
                    // SAFETY: as the caller promises.
                    unsafe { v128_store(row.wrapping_add(number), sums) };
                }
            )+
        }
    };
}

sums! { fn sums_2; 0: a0 b0 c0 d0; 1: a1 b1 c1 d1; }
sums! { fn sums_1; 0: a0 b0 c0 d0; }

/// Sums of neighbours.
#[inline(always)]
fn pair_sums(low: v128, high: v128) -> v128 {
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high))
}
