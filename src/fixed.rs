//! The only fixed-point rounding of the project; `docs/numerics.md` derives it.

#![deny(clippy::float_arithmetic)]

/// `value / 2^shift`, rounded to the nearest integer, halves upwards.
///
/// `value + 2^(shift − 1)` must fit `i32`; packed models guarantee it.
#[inline]
pub(crate) fn rounding_shift_right(value: i32, shift: u8) -> i32 {
    value.wrapping_add((1i32 << shift) >> 1) >> shift
}

/// `value`, or the nearest `i16` when it does not fit.
#[inline]
pub(crate) fn saturate_i16(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// `(a·b + 2^14) >> 15`, as `pmulhrsw` and `sqrdmulh` compute it; `b` must not be −32768.
#[inline]
pub(crate) fn multiply_high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16
}

/// An accumulator in units of the output: shift, saturate, multiply.
#[inline]
pub(crate) fn requantize(accumulator: i32, shift: u8, multiplier: i16) -> i16 {
    multiply_high(saturate_i16(rounding_shift_right(accumulator, shift)), multiplier)
}

/// An activation's distance from its zero point, in units of another tensor.
#[inline]
pub(crate) fn rescale(code: u8, zero_point: u8, shift: u8, multiplier: i16) -> i16 {
    let distance = i32::from(code) - i32::from(zero_point);
    multiply_high((distance << shift) as i16, multiplier)
}

/// The code of a value with fraction bits: zero point and rounding are in `offset`.
#[inline]
pub(crate) fn to_code(value: i16, offset: i16, fraction: u8, low: u8, high: u8) -> u8 {
    let shifted = value.saturating_add(offset) >> fraction;
    shifted.clamp(i16::from(low), i16::from(high)) as u8
}

/// `(value·multiplier + 2^(shift − 1)) >> shift` in 64 bits, saturated to `i32`.
#[inline]
pub(crate) fn scale_wide(value: i32, multiplier: i32, shift: u8) -> i32 {
    let product = i64::from(value) * i64::from(multiplier) + ((1i64 << shift) >> 1);
    (product >> shift).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Bits of the integer root of [`inverse_root`], and of its reciprocal.
const ROOT_BITS: u32 = 31;

/// A factor and a right shift that make `n` to `n / √value` in units of 2^−16; `value` is positive and below 2^61.
#[inline]
pub(crate) fn inverse_root(value: u64) -> (i64, u32) {
    let doublings = (value.leading_zeros().saturating_sub(64 - 2 * ROOT_BITS)) / 2;
    let root = (value << (2 * doublings)).isqrt().max(1);
    ((1i64 << 60) / root as i64, 44 - doublings)
}

/// `(value·factor + 2^(shift − 1)) >> shift` in 64 bits, with what [`inverse_root`] gives.
#[inline]
pub(crate) fn standardise(value: i64, (factor, shift): (i64, u32)) -> i32 {
    ((value.wrapping_mul(factor).wrapping_add((1i64 << shift) >> 1)) >> shift) as i32
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_round_upwards() {
        assert_eq!([5, 6, 7, -6, -5].map(|v| rounding_shift_right(v, 2)), [1, 2, 2, -1, -1]);
        assert_eq!(rounding_shift_right(-7, 0), -7);
    }

    #[test]
    fn extremes_stay_in_range() {
        assert_eq!(multiply_high(i16::MIN, i16::MAX), -32767);
        assert_eq!(requantize(i32::MIN, 0, i16::MAX), -32767);
        assert_eq!(rescale(0, 255, 7, i16::MAX), -32639);
        assert_eq!(to_code(i16::MAX, i16::MAX, 4, 3, 200), 200);
        assert_eq!(scale_wide(i32::MIN, i32::MAX, 0), i32::MIN);
    }

    #[test]
    fn roots_of_extremes() {
        assert_eq!(inverse_root(1), (1 << 30, 14));
        assert_eq!(inverse_root(1 << 60), (1 << 30, 44));
        assert_eq!(standardise(1 << 29, inverse_root(1 << 60)), 1 << 15);
        assert_eq!(standardise(-3, inverse_root(4)), -(3 << 15));
    }

    proptest! {
        #[test]
        fn standardised_values_are_within_their_bound(value in 1u64..(1 << 61), bits in 0u32..61, part in -1.0f64..1.0) {
            let value = (value >> bits).max(1);
            let numerator = (part * (value as f64).sqrt() * 2048.0).clamp(-2147483000.0, 2147483000.0) as i64;
            let exact = numerator as f64 / (value as f64).sqrt() * 65536.0;
            let found = f64::from(standardise(numerator, inverse_root(value)));
            prop_assert!((found - exact).abs() <= 0.5 + exact.abs() * 2f64.powi(-28) + 1e-6, "{found} {exact}");
        }

        #[test]
        fn requantize_is_within_its_bound(acc in -(1i32 << 24)..(1i32 << 24), shift in 0u8..20, m in 1i16..) {
            let exact = f64::from(acc) / f64::from(1u32 << shift) * f64::from(m) / 32768.0;
            prop_assume!(exact.abs() < 16000.0 && f64::from(acc) / f64::from(1u32 << shift) < 32767.0);
            prop_assume!(f64::from(acc) / f64::from(1u32 << shift) > -32768.0);
            let bound = 0.5 + 0.5 * f64::from(m) / 32768.0;
            prop_assert!((f64::from(requantize(acc, shift, m)) - exact).abs() <= bound + 1e-9);
        }
    }
}
