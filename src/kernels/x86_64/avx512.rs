//! AVX-512 with VNNI: 14 positions × 32 channels in 28 registers.

use super::peak;
use super::sums::{fetch, sums};
use crate::kernels::blocked::{Form, Isa, PANEL, ResidualRule, Rule, STRIPS, Segment, Tile};
use crate::wide::Width;
use std::arch::x86_64::*;

/// See [`Isa`].
pub(in crate::kernels) static AVX512_VNNI: Isa = Isa {
    strips: &[7, 4, 1],
    shortens: true,
    form: Form::Plain,
    width: Width::Avx512,
    order: ORDER,
    mode: None,
    tile,
    depthwise,
    finish,
    multiply: peak::avx512_vnni,
};

/// What saturating packs of two registers leave in order.
pub(super) const ORDER: [usize; PANEL / 4] = [0, 2, 4, 6, 1, 3, 5, 7];

unsafe fn tile(tile: &Tile) {
    // SAFETY: as the caller promises.
    unsafe {
        match (tile.lens[0].max(tile.lens[1]), tile.count) {
            (7, 2) => sums_7_2(tile),
            (7, _) => sums_7(tile),
            (4, 2) => sums_4_2(tile),
            (4, _) => sums_4(tile),
            (_, 2) => sums_1_2(tile),
            _ => sums_1(tile),
        }
    }
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_7_2, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_load_si512, _mm512_store_si512, _mm512_dpbusd_epi32, fetch;
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
    fn sums_7, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_load_si512, _mm512_store_si512, _mm512_dpbusd_epi32, fetch;
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
    fn sums_4_2, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_load_si512, _mm512_store_si512, _mm512_dpbusd_epi32, fetch;
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
    fn sums_4, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_load_si512, _mm512_store_si512, _mm512_dpbusd_epi32, fetch;
    0 0: a0 0, b0 1;
    0 1: a1 0, b1 1;
    0 2: a2 0, b2 1;
    0 3: a3 0, b3 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_1_2, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_load_si512, _mm512_store_si512, _mm512_dpbusd_epi32, fetch;
    0 0: a0 0, b0 1;
    1 0: c0 0, d0 1;
}

sums! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn sums_1, __m512i, _mm512_setzero_si512, _mm512_set1_epi32, _mm512_load_si512, _mm512_store_si512, _mm512_dpbusd_epi32, fetch;
    0 0: a0 0, b0 1;
}

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
                    // SAFETY: a tap has 32 weights of four bytes; the slot covers 32 bytes from any tap.
                    unsafe {
                        let weights = _mm512_load_si512(tile.weights.add((2 * tap + half) * 64).cast());
                        let codes = first.add(run.offset as usize + 16 * half);
                        let codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.cast()));
                        // One of each lane's two products is of zeros, or of a code's upper half, which is zero.
                        *sum = _mm512_dpwssd_epi32(*sum, codes, weights);
                    }
                }
            }
            // SAFETY: there are `count · len` rows of two registers.
            unsafe {
                let row: *mut __m512i = tile.sums.add((strip * tile.len + position) * PANEL).cast();
                _mm512_store_si512(row, _mm512_permutex2var_epi32(sums[0], low, sums[1]));
                _mm512_store_si512(row.add(1), _mm512_permutex2var_epi32(sums[0], high, sums[1]));
            }
        }
    }
}

/// Two positions at a time: 64 codes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn finish(segment: &Segment, rule: &Rule) {
    // SAFETY: as the caller promises.
    unsafe {
        match &rule.residual {
            Some(by) => codes::<true>(segment, rule, by),
            None => codes::<false>(segment, rule, &ResidualRule::default()),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn codes<const RESIDUAL: bool>(segment: &Segment, rule: &Rule, by: &ResidualRule) {
    // SAFETY: rules are aligned to 64 bytes.
    let (bias0, bias1, shift0, shift1, multipliers) = unsafe {
        (
            _mm512_load_si512(rule.bias.as_ptr().cast()),
            _mm512_load_si512(rule.bias.as_ptr().add(16).cast()),
            _mm512_load_si512(rule.shifts.as_ptr().cast()),
            _mm512_load_si512(rule.shifts.as_ptr().add(16).cast()),
            _mm512_load_si512(rule.multipliers.as_ptr().cast()),
        )
    };
    let (offset, fraction) = (_mm512_set1_epi16(rule.offset), _mm512_set1_epi16(i16::from(rule.fraction)));
    let zero_point = _mm512_set1_epi16(by.zero_point);
    let (left, factor) = (_mm512_set1_epi16(i16::from(by.shift)), _mm512_set1_epi16(by.multiplier));
    let low = _mm512_set1_epi8(rule.clamp[0] as i8);
    let high = _mm512_set1_epi8(rule.clamp[1] as i8);
    let split = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let mask = (u64::MAX >> (64 - rule.width)) as u32;
    // The results of one position, in 16 bits, before the clamp.
    let row = |position: usize| {
        // SAFETY: a row has two aligned registers of sums; the residual's slot covers 32 bytes from any position.
        let (sums0, sums1, other) = unsafe {
            let sums = segment.sums.add(position * PANEL);
            let other = match RESIDUAL {
                true => _mm256_loadu_si256(segment.residual.add(position * segment.residual_step).cast()),
                false => _mm256_setzero_si256(),
            };
            (_mm512_load_si512(sums.cast()), _mm512_load_si512(sums.add(16).cast()), other)
        };
        let value0 = _mm512_srav_epi32(_mm512_add_epi32(sums0, bias0), shift0);
        let value1 = _mm512_srav_epi32(_mm512_add_epi32(sums1, bias1), shift1);
        let mut value = _mm512_mulhrs_epi16(_mm512_packs_epi32(value0, value1), multipliers);
        if RESIDUAL {
            let distance = _mm512_sub_epi16(_mm512_cvtepu8_epi16(other), zero_point);
            let other = _mm512_mulhrs_epi16(_mm512_sllv_epi16(distance, left), factor);
            value = _mm512_adds_epi16(value, other);
        }
        _mm512_srav_epi16(_mm512_adds_epi16(value, offset), fraction)
    };
    for position in (0..segment.count).step_by(2) {
        let second = (position + 1).min(segment.count - 1);
        let packed = _mm512_packus_epi16(row(position), row(second));
        let packed = _mm512_max_epu8(_mm512_min_epu8(_mm512_permutexvar_epi64(split, packed), high), low);
        // SAFETY: both positions are the segment's; the output has `rule.width` channels of this panel.
        unsafe {
            let target = segment.output.add(second * segment.output_step);
            _mm256_mask_storeu_epi8(target.cast(), mask, _mm512_extracti64x4_epi64::<1>(packed));
            let target = segment.output.add(position * segment.output_step);
            _mm256_mask_storeu_epi8(target.cast(), mask, _mm512_castsi512_si256(packed));
        }
    }
}
