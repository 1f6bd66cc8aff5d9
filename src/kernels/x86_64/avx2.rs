//! 256-bit registers: AVX2, where products are summed in 16 bits as long as they share a scale, and AVX-VNNI.

use super::peak;
use super::sums::{fetch, sums};
use crate::kernels::blocked::{Form, Isa, PANEL, ResidualRule, Rule, STRIPS, Segment, Tile};
use crate::wide::Width;
use std::arch::x86_64::*;
use std::sync::atomic::{Ordering, compiler_fence};

/// See [`Isa`].
pub(in crate::kernels) static AVX2: Isa = Isa {
    strips: &[6, 5, 4, 3, 2, 1],
    shortens: true,
    form: Form::Scaled,
    width: Width::Avx2,
    order: ORDER,
    mode: None,
    tile: scaled_tile,
    depthwise,
    finish,
    multiply: peak::avx2,
};

/// See [`Isa`].
pub(in crate::kernels) static AVX_VNNI: Isa = Isa {
    strips: &[3, 2, 1],
    shortens: true,
    form: Form::Plain,
    width: Width::Avx2,
    order: ORDER,
    mode: None,
    tile: vnni_tile,
    depthwise,
    finish,
    multiply: peak::avx_vnni,
};

/// What saturating packs of two registers leave in order.
const ORDER: [usize; PANEL / 4] = [0, 2, 1, 3, 4, 6, 5, 7];

unsafe fn vnni_tile(tile: &Tile) {
    for strip in 0..tile.count {
        // SAFETY: as the caller promises; each strip has its own rows of sums.
        unsafe {
            let sums = tile.sums.add(strip * tile.len * PANEL);
            let one = Tile { strips: [tile.strips[strip]; STRIPS], sums, ..*tile };
            match tile.lens[strip] {
                3 => vnni_3(&one),
                2 => vnni_2(&one),
                _ => vnni_1(&one),
            }
        }
    }
}

sums! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni_3, __m256i, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_load_si256, _mm256_store_si256,
    _mm256_dpbusd_avx_epi32, fetch;
    0 0: a0 0, b0 1, c0 2, d0 3;
    0 1: a1 0, b1 1, c1 2, d1 3;
    0 2: a2 0, b2 1, c2 2, d2 3;
}

sums! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni_2, __m256i, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_load_si256, _mm256_store_si256,
    _mm256_dpbusd_avx_epi32, fetch;
    0 0: a0 0, b0 1, c0 2, d0 3;
    0 1: a1 0, b1 1, c1 2, d1 3;
}

sums! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni_1, __m256i, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_load_si256, _mm256_store_si256,
    _mm256_dpbusd_avx_epi32, fetch;
    0 0: a0 0, b0 1, c0 2, d0 3;
}

/// Registers of weights between what is read and what is brought near.
const NEAR: usize = 32;

/// Defines the sums of half a panel for some positions of a strip, each with two registers of 16-bit sums under one
/// scale; 32-bit sums, needed once a run, lie in memory.
///
/// Pairs of products are at most 2·255·`FACTOR`, and runs so short that their sums fit 16 bits; see
/// [`Form::Scaled`].
macro_rules! scaled_sums {
    (fn $name:ident; $($position:literal: $short0:ident $short1:ident;)+) => {
        #[target_feature(enable = "avx2")]
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const __m256i, sums: *mut i32) {
            let zero = _mm256_setzero_si256();
            $(
                // SAFETY: a row of sums for each position.
                unsafe {
                    let row: *mut __m256i = sums.add($position * PANEL).cast();
                    _mm256_store_si256(row, zero);
                    _mm256_store_si256(row.add(1), zero);
                }
            )+
            for run in tile.runs {
                $(let (mut $short0, mut $short1) = (zero, zero);)+
                let mut bytes = strip.wrapping_add(run.offset as usize);
                // SAFETY: half a panel has two registers for each step and two of scales; the slot covers all that
                // runs reach.
                unsafe {
                    for _ in 0..run.steps {
                        let (codes0, codes1) = (_mm256_load_si256(weights), _mm256_load_si256(weights.add(1)));
                        $(
                            let four = bytes.add($position * tile.step).cast::<i32>().read_unaligned();
                            let four = _mm256_set1_epi32(four);
                            $short0 = _mm256_add_epi16($short0, _mm256_maddubs_epi16(four, codes0));
                            $short1 = _mm256_add_epi16($short1, _mm256_maddubs_epi16(four, codes1));
                        )+
                        _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(NEAR).cast());
                        weights = weights.add(2);
                        bytes = bytes.wrapping_add(4);
                    }
                    let (scale0, scale1) = (_mm256_load_si256(weights), _mm256_load_si256(weights.add(1)));
                    $(
                        let row: *mut __m256i = sums.add($position * PANEL).cast();
                        let products = _mm256_madd_epi16($short0, scale0);
                        _mm256_store_si256(row, _mm256_add_epi32(_mm256_load_si256(row), products));
                        let products = _mm256_madd_epi16($short1, scale1);
                        _mm256_store_si256(row.add(1), _mm256_add_epi32(_mm256_load_si256(row.add(1)), products));
                    )+
                    weights = weights.add(2);
                }
                // Sums stay in memory; the compiler would copy them to the stack besides.
                compiler_fence(Ordering::SeqCst);
            }
        }
    };
}

scaled_sums! { fn scaled_6; 0: a0 b0; 1: a1 b1; 2: a2 b2; 3: a3 b3; 4: a4 b4; 5: a5 b5; }
scaled_sums! { fn scaled_5; 0: a0 b0; 1: a1 b1; 2: a2 b2; 3: a3 b3; 4: a4 b4; }
scaled_sums! { fn scaled_4; 0: a0 b0; 1: a1 b1; 2: a2 b2; 3: a3 b3; }
scaled_sums! { fn scaled_3; 0: a0 b0; 1: a1 b1; 2: a2 b2; }
scaled_sums! { fn scaled_2; 0: a0 b0; 1: a1 b1; }
scaled_sums! { fn scaled_1; 0: a0 b0; }

/// Defines the same for runs of one step each, whose products are scaled at once.
macro_rules! step_sums {
    (fn $name:ident; $($position:literal: $long0:ident $long1:ident;)+) => {
        #[target_feature(enable = "avx2")]
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const __m256i, sums: *mut i32) {
            $(let (mut $long0, mut $long1) = (_mm256_setzero_si256(), _mm256_setzero_si256());)+
            for run in tile.runs {
                let bytes = strip.wrapping_add(run.offset as usize);
                // SAFETY: half a panel has two registers for each step and two of scales; the slot covers all that
                // runs reach.
                unsafe {
                    let (codes0, codes1) = (_mm256_load_si256(weights), _mm256_load_si256(weights.add(1)));
                    let (scale0, scale1) = (_mm256_load_si256(weights.add(2)), _mm256_load_si256(weights.add(3)));
                    $(
                        let four = bytes.add($position * tile.step).cast::<i32>().read_unaligned();
                        let four = _mm256_set1_epi32(four);
                        let products = _mm256_madd_epi16(_mm256_maddubs_epi16(four, codes0), scale0);
                        $long0 = _mm256_add_epi32($long0, products);
                        let products = _mm256_madd_epi16(_mm256_maddubs_epi16(four, codes1), scale1);
                        $long1 = _mm256_add_epi32($long1, products);
                    )+
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(NEAR).cast());
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(NEAR + 2).cast());
                    weights = weights.add(4);
                }
            }
            $(
                // SAFETY: a row of sums for each position.
                unsafe {
                    let row: *mut __m256i = sums.add($position * PANEL).cast();
                    _mm256_store_si256(row, $long0);
                    _mm256_store_si256(row.add(1), $long1);
                }
            )+
        }
    };
}

step_sums! { fn step_3; 0: a0 b0; 1: a1 b1; 2: a2 b2; }
step_sums! { fn step_2; 0: a0 b0; 1: a1 b1; }
step_sums! { fn step_1; 0: a0 b0; }

/// Sums of half a panel for some positions of a strip.
type HalfPanelSums = unsafe fn(&Tile, *const u8, *const __m256i, *mut i32);

/// By number of positions, from 1.
const SCALED: [HalfPanelSums; 6] = [scaled_1, scaled_2, scaled_3, scaled_4, scaled_5, scaled_6];
const STEP: [HalfPanelSums; 3] = [step_1, step_2, step_3];

unsafe fn scaled_tile(tile: &Tile) {
    let half_panel: usize = tile.runs.iter().map(|run| 2 * (run.steps as usize + 1)).sum();
    let sums: &[HalfPanelSums] = if half_panel == 4 * tile.runs.len() { &STEP } else { &SCALED };
    for half in 0..2 {
        let weights = tile.weights.cast::<__m256i>().wrapping_add(half * half_panel);
        for strip in 0..tile.count {
            let len = tile.lens[strip];
            for first in (0..len).step_by(sums.len()) {
                // SAFETY: as the caller promises; each half of each position has its own half row of sums.
                unsafe {
                    let row = tile.sums.add((strip * tile.len + first) * PANEL + half * PANEL / 2);
                    let place = tile.strips[strip].wrapping_add(first * tile.step);
                    sums[sums.len().min(len - first) - 1](tile, place, weights, row);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn depthwise(tile: &Tile) {
    for strip in 0..tile.count {
        for position in 0..tile.len {
            let mut sums = [_mm256_setzero_si256(); 4];
            let first = tile.strips[strip].wrapping_add(position * tile.step);
            for (tap, run) in tile.runs.iter().enumerate() {
                for (part, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a tap has 32 weights of four bytes; the slot covers 32 bytes from any tap.
                    unsafe {
                        let weights = _mm256_load_si256(tile.weights.add((4 * tap + part) * 32).cast());
                        let codes = first.add(run.offset as usize + 8 * part);
                        let codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(codes.cast()));
                        // One of each lane's two products is of a code's upper half, which is zero.
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(codes, weights));
                    }
                }
            }
            // SAFETY: there are `count · len` rows of four registers.
            unsafe {
                let row: *mut __m256i = tile.sums.add((strip * tile.len + position) * PANEL).cast();
                for pair in 0..2 {
                    let (left, right) = (sums[2 * pair], sums[2 * pair + 1]);
                    _mm256_store_si256(row.add(2 * pair), _mm256_permute2x128_si256::<0x20>(left, right));
                    _mm256_store_si256(row.add(2 * pair + 1), _mm256_permute2x128_si256::<0x31>(left, right));
                }
            }
        }
    }
}

/// One position at a time: 32 codes.
#[target_feature(enable = "avx2")]
unsafe fn finish(segment: &Segment, rule: &Rule) {
    let low = _mm256_set1_epi8(rule.clamp[0] as i8);
    let high = _mm256_set1_epi8(rule.clamp[1] as i8);
    for position in 0..segment.count {
        // SAFETY: the position is the segment's; the output has `rule.width` channels of this panel, 16 or 32.
        unsafe {
            let halves =
                _mm256_packus_epi16(half(segment, rule, position, 0), half(segment, rule, position, 1));
            let codes = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves);
            let codes = _mm256_max_epu8(_mm256_min_epu8(codes, high), low);
            let target = segment.output.add(position * segment.output_step);
            match rule.width {
                PANEL => _mm256_storeu_si256(target.cast(), codes),
                _ => _mm_storeu_si128(target.cast(), _mm256_castsi256_si128(codes)),
            }
        }
    }
}

/// The results of 16 channels of a position, in 16 bits, before the clamp.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn half(segment: &Segment, rule: &Rule, position: usize, half: usize) -> __m256i {
    // SAFETY: rules and sums are aligned to 64 bytes, and halves of them to 32.
    unsafe {
        let quarter = |quarter: usize| {
            let place = 16 * half + 8 * quarter;
            let sums = _mm256_load_si256(segment.sums.add(position * PANEL + place).cast());
            let bias = _mm256_load_si256(rule.bias.as_ptr().add(place).cast());
            let shifts = _mm256_load_si256(rule.shifts.as_ptr().add(place).cast());
            _mm256_srav_epi32(_mm256_add_epi32(sums, bias), shifts)
        };
        let multipliers = _mm256_load_si256(rule.multipliers.as_ptr().add(16 * half).cast());
        let mut value = _mm256_mulhrs_epi16(_mm256_packs_epi32(quarter(0), quarter(1)), multipliers);
        if let Some(by) = &rule.residual {
            let codes = segment.residual.add(position * segment.residual_step + 16 * half);
            value = _mm256_adds_epi16(value, residual(codes, by));
        }
        let value = _mm256_adds_epi16(value, _mm256_set1_epi16(rule.offset));
        _mm256_sra_epi16(value, _mm_cvtsi32_si128(i32::from(rule.fraction)))
    }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn residual(codes: *const u8, by: &ResidualRule) -> __m256i {
    // SAFETY: the slot of the residual covers 32 bytes from any of its positions.
    let codes = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(codes.cast()) });
    let distance = _mm256_sub_epi16(codes, _mm256_set1_epi16(by.zero_point));
    let distance = _mm256_sll_epi16(distance, _mm_cvtsi32_si128(i32::from(by.shift)));
    _mm256_mulhrs_epi16(distance, _mm256_set1_epi16(by.multiplier))
}
