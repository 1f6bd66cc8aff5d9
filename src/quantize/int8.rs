//! Eight-bit weights: one factor per output channel.

use ndarray::{ArrayView4, Axis};

/// Codes `−127..=127` in the order output channel, row, column, input channel, and a factor per channel.
pub(super) fn quantize(weights: ArrayView4<'_, f32>) -> (Vec<i8>, Vec<f64>) {
    let mut codes = Vec::with_capacity(weights.len());
    let mut factors = Vec::with_capacity(weights.dim().0);
    for channel in weights.axis_iter(Axis(0)) {
        let largest = channel.iter().fold(0.0f64, |largest, &w| largest.max(f64::from(w).abs()));
        let factor = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let code = |&weight: &f32| (f64::from(weight) / factor).round() as i8;
        codes.extend(channel.permuted_axes([1, 2, 0]).iter().map(code));
        factors.push(factor);
    }
    (codes, factors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn channels_have_their_own_factor_and_storage_order() {
        let weights =
            Array4::from_shape_vec((2, 2, 1, 2), vec![1.0, 0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        let (codes, factors) = quantize(weights.view());
        assert_eq!(codes, [127, -127, 64, 0, 0, 0, 0, 0]);
        assert_eq!(factors, [1.0 / 127.0, 1.0]);
    }

    #[test]
    fn subnormal_weights_do_not_divide_by_zero() {
        let weights = Array4::from_elem((1, 1, 1, 1), 1e-45f32);
        assert_eq!(quantize(weights.view()).0, [127]);
    }
}
