//! 256-bit registers: AVX2, where products are summed in 16 bits as long as they share a scale, and AVX-VNNI.

use super::peak;
use super::sums::{fetch, sums};
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, ResidualRule, Rule, STRIPS, Segment, Tile};
use crate::wide::Width;
use std::arch::x86_64::*;
use std::sync::atomic::{Ordering, compiler_fence};

/// See [`Isa`].
pub(super) static AVX2: Isa = Isa {
    strips: &[6, 5, 4, 3, 2, 1],
    shortens: true,
    form: Form::Scaled,
    // SAFETY: as for the promise.
    width: unsafe { Width::avx2() },
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the CPU has AVX2, which the functions below need; they keep to what they
    // must.
    promise: unsafe { Promise::new() },
    tile: scaled_tile,
    depthwise,
    finish,
    multiply: peak::avx2,
};

/// See [`Isa`].
pub(super) static AVX_VNNI: Isa = Isa {
    strips: &[3, 2, 1],
    shortens: true,
    form: Form::Plain,
    // SAFETY: as for the promise.
    width: unsafe { Width::avx2() },
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the CPU has AVX2 and AVX-VNNI, which the functions below need; they keep to what they
    // must.
    promise: unsafe { Promise::new() },
    tile: vnni_tile,
    depthwise,
    finish,
    multiply: peak::avx_vnni,
};

/// What saturating packs of two registers leave in order.
const ORDER: [usize; PANEL / 4] = [0, 2, 1, 3, 4, 6, 5, 7];

/// # Safety
/// As [`Tile`] says.
unsafe fn vnni_tile(tile: &Tile) {
    for strip in 0..tile.count {
        let rows = tile.sums.wrapping_add(strip * tile.len * PANEL);
        let one = Tile { strips: [tile.strips[strip]; STRIPS], sums: rows, ..*tile };
        let sums = match tile.lens[strip] {
            3 => vnni_3,
            2 => vnni_2,
            _ => vnni_1,
        };
        // SAFETY: as the caller promises; each strip has its own rows of sums.
        unsafe { sums(&one) };
    }
}

sums! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni_3, __m256i, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32;
    0 0: a0 0, b0 1, c0 2, d0 3;
    0 1: a1 0, b1 1, c1 2, d1 3;
    0 2: a2 0, b2 1, c2 2, d2 3;
}

sums! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni_2, __m256i, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32;
    0 0: a0 0, b0 1, c0 2, d0 3;
    0 1: a1 0, b1 1, c1 2, d1 3;
}

sums! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn vnni_1, __m256i, _mm256_setzero_si256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32;
    0 0: a0 0, b0 1, c0 2, d0 3;
}

/// Registers of weights between what is read and what is brought near.
const NEAR: usize = 32;

/// Brings a line of weights near.
#[inline(always)]
fn near(weights: *const __m256i) {
    // SAFETY: prefetching reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(weights.cast()) };
}

/// Adds to sums in memory.
///
/// # Safety
/// They are at `sums`, a multiple of 32, and nobody else uses them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add(sums: *mut __m256i, more: __m256i) {
    // SAFETY: as the caller promises.
    let sums = unsafe { &mut *sums };
    *sums = _mm256_add_epi32(*sums, more);
}

/// Defines the sums of half a panel for some positions of a strip, each with two registers of 16-bit sums under one
/// scale; 32-bit sums, needed once a run, lie in memory.
///
/// Pairs of products are at most 2·255·`FACTOR`, and runs so short that their sums fit 16 bits; see
/// [`Form::Scaled`].
macro_rules! scaled_sums {
    (fn $name:ident; $($position:literal: $short0:ident $short1:ident;)+) => {
        /// # Safety
        /// As [`HalfPanelSums`] says.
        #[target_feature(enable = "avx2")]
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const __m256i, sums: *mut i32) {
            let zero = _mm256_setzero_si256();
            $(
                let row: *mut __m256i = sums.wrapping_add($position * PANEL).cast();
                // SAFETY: half a row of sums for each position.
                unsafe { row.cast::<[__m256i; 2]>().write([zero; 2]) };
            )+
            for run in tile.runs {
                $(let (mut $short0, mut $short1) = (zero, zero);)+
                let mut bytes = strip.wrapping_add(run.offset as usize);
                for _ in 0..run.steps {
                    // SAFETY: half a panel has two registers for each step.
                    let [codes0, codes1] = unsafe { weights.cast::<[__m256i; 2]>().read() };
                    $(
                        let four: *const i32 = bytes.wrapping_add($position * tile.step).cast();
                        // SAFETY: the four bytes of a step at a position.
                        let four = _mm256_set1_epi32(unsafe { four.read_unaligned() });
                        $short0 = _mm256_add_epi16($short0, _mm256_maddubs_epi16(four, codes0));
                        $short1 = _mm256_add_epi16($short1, _mm256_maddubs_epi16(four, codes1));
                    )+
                    near(weights.wrapping_add(NEAR));
                    weights = weights.wrapping_add(2);
                    bytes = bytes.wrapping_add(4);
                }
                // SAFETY: half a panel has two registers of scales for each run.
                let [scale0, scale1] = unsafe { weights.cast::<[__m256i; 2]>().read() };
                $(
                    let row: *mut __m256i = sums.wrapping_add($position * PANEL).cast();
                    // SAFETY: half a row of sums for each position, which has been written.
                    unsafe { add(row, _mm256_madd_epi16($short0, scale0)) };
                    // SAFETY: its second register.
                    unsafe { add(row.wrapping_add(1), _mm256_madd_epi16($short1, scale1)) };
                )+
                weights = weights.wrapping_add(2);
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
        /// # Safety
        /// As [`HalfPanelSums`] says; all runs have one step.
        #[target_feature(enable = "avx2")]
        unsafe fn $name(tile: &Tile, strip: *const u8, mut weights: *const __m256i, sums: *mut i32) {
            $(let (mut $long0, mut $long1) = (_mm256_setzero_si256(), _mm256_setzero_si256());)+
            for run in tile.runs {
                let bytes = strip.wrapping_add(run.offset as usize);
                // SAFETY: half a panel has two registers for the step of each run and two of scales.
                let [codes0, codes1, scale0, scale1] = unsafe { weights.cast::<[__m256i; 4]>().read() };
                $(
                    let four: *const i32 = bytes.wrapping_add($position * tile.step).cast();
                    // SAFETY: the four bytes of a step at a position.
                    let four = _mm256_set1_epi32(unsafe { four.read_unaligned() });
                    let products = _mm256_madd_epi16(_mm256_maddubs_epi16(four, codes0), scale0);
                    $long0 = _mm256_add_epi32($long0, products);
                    let products = _mm256_madd_epi16(_mm256_maddubs_epi16(four, codes1), scale1);
                    $long1 = _mm256_add_epi32($long1, products);
                )+
                near(weights.wrapping_add(NEAR));
                near(weights.wrapping_add(NEAR + 2));
                weights = weights.wrapping_add(4);
            }
            $(
                let row: *mut __m256i = sums.wrapping_add($position * PANEL).cast();
                // SAFETY: half a row of sums for each position.
                unsafe { row.cast::<[__m256i; 2]>().write([$long0, $long1]) };
            )+
        }
    };
}

step_sums! { fn step_3; 0: a0 b0; 1: a1 b1; 2: a2 b2; }
step_sums! { fn step_2; 0: a0 b0; 1: a1 b1; }
step_sums! { fn step_1; 0: a0 b0; }

/// Sums of half a panel for some positions of a strip.
///
/// # Safety
/// As [`Tile`] says, with this strip, the weights of half a panel, which are a multiple of 32, and half a row of sums for
/// every position.
type HalfPanelSums = unsafe fn(&Tile, *const u8, *const __m256i, *mut i32);

/// By number of positions, from 1.
const SCALED: [HalfPanelSums; 6] = [scaled_1, scaled_2, scaled_3, scaled_4, scaled_5, scaled_6];
const STEP: [HalfPanelSums; 3] = [step_1, step_2, step_3];

/// # Safety
/// As [`Tile`] says.
unsafe fn scaled_tile(tile: &Tile) {
    let half_panel: usize = tile.runs.iter().map(|run| 2 * (run.steps as usize + 1)).sum();
    let sums: &[HalfPanelSums] = if half_panel == 4 * tile.runs.len() { &STEP } else { &SCALED };
    for half in 0..2 {
        let weights = tile.weights.cast::<__m256i>().wrapping_add(half * half_panel);
        for strip in 0..tile.count {
            let len = tile.lens[strip];
            for first in (0..len).step_by(sums.len()) {
                let row = tile.sums.wrapping_add((strip * tile.len + first) * PANEL + half * PANEL / 2);
                let place = tile.strips[strip].wrapping_add(first * tile.step);
                let sums = sums[sums.len().min(len - first) - 1];
                // SAFETY: as the caller promises; each half of each position has its own half row of sums.
                unsafe { sums(tile, place, weights, row) };
            }
        }
    }
}

/// # Safety
/// As [`Tile`] says.
#[target_feature(enable = "avx2")]
unsafe fn depthwise(tile: &Tile) {
    for strip in 0..tile.count {
        for position in 0..tile.len {
            let mut sums = [_mm256_setzero_si256(); 4];
            let first = tile.strips[strip].wrapping_add(position * tile.step);
            for (tap, run) in tile.runs.iter().enumerate() {
                for (part, sum) in sums.iter_mut().enumerate() {
                    let weights: *const __m256i = tile.weights.wrapping_add((4 * tap + part) * 32).cast();
                    let codes = first.wrapping_add(run.offset as usize + 8 * part);
                    // SAFETY: a tap has 32 weights of four bytes.
                    let weights = unsafe { weights.read() };
                    // SAFETY: `PANEL` bytes may be read at every tap.
                    let codes = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(codes.cast()) });
                    // One of each lane's two products is of a code's upper half, which is zero.
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(codes, weights));
                }
            }
            let low = |left, right| _mm256_permute2x128_si256::<0x20>(left, right);
            let high = |left, right| _mm256_permute2x128_si256::<0x31>(left, right);
            let [a, b, c, d] = sums;
            let row: *mut [__m256i; 4] = tile.sums.wrapping_add((strip * tile.len + position) * PANEL).cast();
            // SAFETY: there are `count · len` rows of four registers.
            unsafe { row.write([low(a, b), high(a, b), low(c, d), high(c, d)]) };
        }
    }
}

/// One position at a time: 32 codes.
///
/// # Safety
/// As [`Segment`] says.
#[target_feature(enable = "avx2")]
unsafe fn finish(segment: &Segment, rule: &Rule) {
    let low = _mm256_set1_epi8(rule.clamp[0] as i8);
    let high = _mm256_set1_epi8(rule.clamp[1] as i8);
    for (position, sums) in segment.sums.iter().enumerate() {
        let mut halves = [0, 1].map(|half| scaled(sums, rule, 16 * half));
        if let Some(by) = &rule.residual {
            let codes = segment.residual.wrapping_add(position * segment.residual_step);
            // SAFETY: the residual has `PANEL` codes at every position.
            let codes = unsafe { codes.cast::<[__m128i; 2]>().read_unaligned() };
            halves = [0, 1].map(|half| _mm256_adds_epi16(halves[half], residual(codes[half], by)));
        }
        let [left, right] = halves.map(|half| narrow(half, rule));
        let codes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(left, right));
        let codes = _mm256_max_epu8(_mm256_min_epu8(codes, high), low);
        let target = segment.output.wrapping_add(position * segment.output_step);
        let first = _mm256_castsi256_si128(codes);
        match rule.width {
            // SAFETY: the position's codes, as many as the rule says.
            PANEL => unsafe { target.cast::<__m256i>().write_unaligned(codes) },
            // SAFETY: the same, 16 of them.
            _ => unsafe { target.cast::<__m128i>().write_unaligned(first) },
        }
    }
}

/// Eight of a panel's numbers, from `first` on.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn eight(numbers: &[i32; PANEL], first: usize) -> __m256i {
    let eight = &numbers[first..][..8];
    // SAFETY: eight numbers of four bytes are one register.
    unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) }
}

/// Sums of 16 channels of a position, from `first` on, in units of the output.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled(sums: &[i32; PANEL], rule: &Rule, first: usize) -> __m256i {
    let [left, right] = [first, first + 8].map(|place| {
        let sums = _mm256_add_epi32(eight(sums, place), eight(&rule.bias, place));
        _mm256_srav_epi32(sums, eight(&rule.shifts, place))
    });
    let multipliers = &rule.multipliers[first..][..16];
    // SAFETY: 16 numbers of two bytes are one register.
    let multipliers = unsafe { _mm256_loadu_si256(multipliers.as_ptr().cast()) };
    _mm256_mulhrs_epi16(_mm256_packs_epi32(left, right), multipliers)
}

/// Distances from zero in units of the output.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn residual(codes: __m128i, by: &ResidualRule) -> __m256i {
    let distance = _mm256_sub_epi16(_mm256_cvtepu8_epi16(codes), _mm256_set1_epi16(by.zero_point));
    let distance = _mm256_sll_epi16(distance, _mm_cvtsi32_si128(i32::from(by.shift)));
    _mm256_mulhrs_epi16(distance, _mm256_set1_epi16(by.multiplier))
}

/// Results without their fraction bits, before the clamp.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(value: __m256i, rule: &Rule) -> __m256i {
    let value = _mm256_adds_epi16(value, _mm256_set1_epi16(rule.offset));
    _mm256_sra_epi16(value, _mm_cvtsi32_si128(i32::from(rule.fraction)))
}
