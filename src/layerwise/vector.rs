//! Products of vectors in registers as wide as the machine has; every width gives the same bits.

use crate::wide::Width;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

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

/// The columns of `matrix · [vectors]`.
pub(super) fn times(matrix: &Mat<f64>, vectors: &[Vec<f64>]) -> Mat<f64> {
    let vectors = Mat::from_fn(matrix.ncols(), vectors.len(), |row, column| vectors[column][row]);
    let mut product = Mat::zeros(matrix.nrows(), vectors.ncols());
    matmul(product.as_mut(), Accum::Replace, matrix.as_ref(), vectors.as_ref(), 1.0, Par::Seq);
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::noise;

    fn vector(len: usize, seed: u64) -> Vec<f64> {
        noise(len, seed).into_iter().map(f64::from).collect()
    }

    #[test]
    fn every_width_gives_the_same_bits() {
        for len in [0, 1, 15, 16, 17, 64, 145] {
            let (a, b) = (vector(len, 1), vector(len, 2));
            let mut sum = b.clone();
            axpy(0.3, &a, &mut sum);
            let plain: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b + 0.3 * a).collect();
            assert_eq!(sum, plain);
            for width in Width::available() {
                let dots = width.run(
                    #[inline(always)]
                    || dot_in_lanes(&a, &b),
                );
                assert_eq!(dots.to_bits(), dot_in_lanes(&a, &b).to_bits(), "{width:?}, {len}");
            }
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - plain).abs() < 1e-12);
        }
    }
}
