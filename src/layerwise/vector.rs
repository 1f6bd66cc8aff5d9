//! Products of vectors in registers as wide as the machine has; every width gives the same bits.

use crate::kernels::Width;

/// Running sums of [`dot`], whatever the width.
const LANES: usize = 16;

/// Adds `factor · column` to `target`.
#[inline]
pub(super) fn axpy(factor: f64, column: &[f64], target: &mut [f64]) {
    if factor != 0.0 {
        Width::widest().run(
            #[inline(always)]
            || target.iter_mut().zip(column).for_each(|(value, x)| *value += factor * x),
        );
    }
}

/// The inner product of two vectors of one length.
#[inline]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sum = 0.0;
    if a.len() >= LANES {
        Width::widest().run(
            #[inline(always)]
            || sum = dot_in_lanes(a, b),
        );
    } else {
        sum = a.iter().zip(b).map(|(a, b)| a * b).sum();
    }
    sum
}

#[inline(always)]
fn dot_in_lanes(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}
