//! AVX-512 with VNNI: 14 positions × 32 channels in 28 registers.

use super::peak;
use super::sums::{fetch, sums};
use crate::kernels::blocked::{Form, Isa, PANEL, Promise, ResidualRule, Rule, STRIPS, Segment, Tile};
use crate::wide::Width;
use std::arch::x86_64::*;

/// See [`Isa`].
pub(super) static AVX512_VNNI: Isa = Isa {
    strips: &[7, 4, 1],
    shortens: true,
    form: Form::Plain,
    // SAFETY: as for the promise.
    width: unsafe { Width::avx512() },
    order: ORDER,
    mode: None,
    // SAFETY: `super::isa` hands it out where the CPU has AVX-512F, BW, VL and VNNI, which the functions below need; they
    // keep to what they must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply: peak::avx512_vnni,
};

/// What saturating packs of two registers leave in order.
pub(super) const ORDER: [usize; PANEL / 4] = [0, 2, 4, 6, 1, 3, 5, 7];

/// # Safety
/// As [`Tile`] says.
unsafe fn tile(tile: &Tile) {
    let sums = match (tile.lens[0].max(tile.lens[1]), tile.count) {
        (7, 2) => sums_7_2,
        (7, _) => sums_7,
        (4, 2) => sums_4_2,
        (4, _) => sums_4,
        (_, 2) => sums_1_2,
        _ => sums_1,
    };
    // SAFETY: as the caller promises; there are so many strips, and none has more positions.
    unsafe { sums(tile) };
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_7_2, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32;
    0 0: a0 0, b0 1;
    0 1: a1 0, b1 1;
    0 2: a2 0, b2 1;
    0 3: a3 0, b3 1;
    0 4: a4 0, b4 1;
    0 5: a5 0, b5 1;
    0 6: a6 0, b6 1;
    1 0: c0 0, d0 1;
    1 1: c1 0, d1 1;
    1 2: c2 0, d2 1;
    1 3: c3 0, d3 1;
    1 4: c4 0, d4 1;
    1 5: c5 0, d5 1;
    1 6: c6 0, d6 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_7, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32;
    0 0: a0 0, b0 1;
    0 1: a1 0, b1 1;
    0 2: a2 0, b2 1;
    0 3: a3 0, b3 1;
    0 4: a4 0, b4 1;
    0 5: a5 0, b5 1;
    0 6: a6 0, b6 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_4_2, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32;
    0 0: a0 0, b0 1;
    0 1: a1 0, b1 1;
    0 2: a2 0, b2 1;
    0 3: a3 0, b3 1;
    1 0: c0 0, d0 1;
    1 1: c1 0, d1 1;
    1 2: c2 0, d2 1;
    1 3: c3 0, d3 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_4, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32;
    0 0: a0 0, b0 1;
    0 1: a1 0, b1 1;
    0 2: a2 0, b2 1;
    0 3: a3 0, b3 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_1_2, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32;
    0 0: a0 0, b0 1;
    1 0: c0 0, d0 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_1, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32;
    0 0: a0 0, b0 1;
}

/// # Safety
/// As [`Tile`] says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn depthwise(tile: &Tile) {
    let low = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    let high = _mm512_add_epi32(low, _mm512_set1_epi32(4));
    for strip in 0..tile.count {
        for position in 0..tile.len {
            let mut sums = [_mm512_setzero_si512(); 2];
            let first = tile.strips[strip].wrapping_add(position * tile.step);
            for (tap, run) in tile.runs.iter().enumerate() {
                for (half, sum) in sums.iter_mut().enumerate() {
                    let weights: *const __m512i = tile.weights.wrapping_add((2 * tap + half) * 64).cast();
                    let codes = first.wrapping_add(run.offset as usize + 16 * half);
                    // SAFETY: a tap has 32 weights of four bytes.
                    let weights = unsafe { weights.read() };
                    // SAFETY: `PANEL` bytes may be read at every tap.
                    let codes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(codes.cast()) });
                    // One of each lane's two products is of zeros, or of a code's upper half, which is zero.
                    *sum = _mm512_dpwssd_epi32(*sum, codes, weights);
                }
            }
            let row: *mut [__m512i; 2] = tile.sums.wrapping_add((strip * tile.len + position) * PANEL).cast();
            let halves = [low, high].map(|half| _mm512_permutex2var_epi32(sums[0], half, sums[1]));
            // SAFETY: there are `count · len` rows of two registers.
            unsafe { row.write(halves) };
        }
    }
}

/// The numbers of a panel, in two registers.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(numbers: &[i32; PANEL]) -> [__m512i; 2] {
    // SAFETY: 32 numbers of four bytes are two registers, all bits of which are numbers.
    unsafe { std::ptr::from_ref(numbers).cast::<[__m512i; 2]>().read_unaligned() }
}

/// Two positions at a time: 64 codes.
///
/// # Safety
/// As [`Segment`] says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn finish(segment: &Segment, rule: &Rule) {
    match &rule.residual {
        // SAFETY: as the caller promises.
        Some(by) => unsafe { codes::<true>(segment, rule, by) },
        // SAFETY: as the caller promises.
        None => unsafe { codes::<false>(segment, rule, &ResidualRule::default()) },
    }
}

/// # Safety
/// As [`Segment`] says; `RESIDUAL` says whether there is one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn codes<const RESIDUAL: bool>(segment: &Segment, rule: &Rule, by: &ResidualRule) {
    let ([bias0, bias1], [shift0, shift1]) = (halves(&rule.bias), halves(&rule.shifts));
    // SAFETY: 32 multipliers of two bytes are one register.
    let multipliers = unsafe { _mm512_loadu_si512(rule.multipliers.as_ptr().cast()) };
    let (offset, fraction) = (_mm512_set1_epi16(rule.offset), _mm512_set1_epi16(i16::from(rule.fraction)));
    let zero_point = _mm512_set1_epi16(by.zero_point);
    let (left, factor) = (_mm512_set1_epi16(i16::from(by.shift)), _mm512_set1_epi16(by.multiplier));
    let low = _mm512_set1_epi8(rule.clamp[0] as i8);
    let high = _mm512_set1_epi8(rule.clamp[1] as i8);
    let split = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let mask = (u64::MAX >> (64 - rule.width)) as u32;
    // The results of one position, in 16 bits, before the clamp.
    let row = |position: usize| {
        let [sums0, sums1] = halves(&segment.sums[position]);
        let value0 = _mm512_srav_epi32(_mm512_add_epi32(sums0, bias0), shift0);
        let value1 = _mm512_srav_epi32(_mm512_add_epi32(sums1, bias1), shift1);
        let mut value = _mm512_mulhrs_epi16(_mm512_packs_epi32(value0, value1), multipliers);
        if RESIDUAL {
            let other = segment.residual.wrapping_add(position * segment.residual_step);
            // SAFETY: the residual has `PANEL` codes at every position.
            let other = unsafe { _mm256_loadu_si256(other.cast()) };
            let distance = _mm512_sub_epi16(_mm512_cvtepu8_epi16(other), zero_point);
            let other = _mm512_mulhrs_epi16(_mm512_sllv_epi16(distance, left), factor);
            value = _mm512_adds_epi16(value, other);
        }
        _mm512_srav_epi16(_mm512_adds_epi16(value, offset), fraction)
    };
    for position in (0..segment.sums.len()).step_by(2) {
        let second = (position + 1).min(segment.sums.len() - 1);
        let packed = _mm512_packus_epi16(row(position), row(second));
        let packed = _mm512_max_epu8(_mm512_min_epu8(_mm512_permutexvar_epi64(split, packed), high), low);
        let target = |position: usize| segment.output.wrapping_add(position * segment.output_step).cast();
        let codes = [_mm512_castsi512_si256(packed), _mm512_extracti64x4_epi64::<1>(packed)];
        // SAFETY: the position's codes, as many as the rule says.
        unsafe { _mm256_mask_storeu_epi8(target(second), mask, codes[1]) };
        // SAFETY: the same.
        unsafe { _mm256_mask_storeu_epi8(target(position), mask, codes[0]) };
    }
}
