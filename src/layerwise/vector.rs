//! Products of vectors in registers as wide as the machine has; every width gives the same bits.

use crate::wide::Width;
use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, Mat, Par};
use std::iter::Sum;
use std::ops::{AddAssign, Mul};

/// Running sums of [`dot`], whatever the width.
const LANES: usize = 16;

/// `f32` or `f64`.
pub(super) trait Real: ComplexField + Copy + Default + Mul<Output = Self> + AddAssign + Sum {}

impl Real for f32 {}
impl Real for f64 {}

/// Adds `factor · column` to `target`.
#[inline]
pub(super) fn axpy<T: Real + PartialEq>(factor: T, column: &[T], target: &mut [T]) {
    if factor != T::default() {
        Width::widest().run(
            #[inline(always)]
            || target.iter_mut().zip(column).for_each(|(value, x)| *value += factor * *x),
        );
    }
}

/// The inner product of two vectors of one length.
#[inline]
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    if a.len() < LANES {
        return a.iter().zip(b).map(|(a, b)| *a * *b).sum();
    }
    Width::widest().run(
        #[inline(always)]
        || dot_in_lanes(a, b),
    )
}

#[inline(always)]
fn dot_in_lanes<T: Real>(a: &[T], b: &[T]) -> T {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [T::default(); LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut sum: T = sums.into_iter().sum();
    sum += a_rest.iter().zip(b_rest).map(|(a, b)| *a * *b).sum::<T>();
    sum
}

/// The columns of `matrix · [vectors]`.
pub(super) fn times<T: Real>(matrix: &Mat<T>, vectors: &[Vec<T>]) -> Mat<T> {
    let vectors = Mat::from_fn(matrix.ncols(), vectors.len(), |row, column| vectors[column][row]);
    let mut product = Mat::zeros(matrix.nrows(), vectors.ncols());
    matmul(product.as_mut(), Accum::Replace, matrix.as_ref(), vectors.as_ref(), T::one_impl(), Par::Seq);
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::noise;

    fn every_width_gives_the_same_bits<T: Real + PartialEq + std::fmt::Debug + From<f32>>() {
        let vector =
            |len: usize, seed: u64| -> Vec<T> { noise(len, seed).into_iter().map(T::from).collect() };
        for len in [0, 1, 15, 16, 17, 64, 145] {
            let (a, b) = (vector(len, 1), vector(len, 2));
            let factor = T::from(0.3);
            let mut sum = b.clone();
            axpy(factor, &a, &mut sum);
            let mut plain = b.clone();
            plain.iter_mut().zip(&a).for_each(|(b, a)| *b += factor * *a);
            assert_eq!(sum, plain);
            for width in Width::available() {
                let dots = width.run(
                    #[inline(always)]
                    || dot_in_lanes(&a, &b),
                );
                assert_eq!(dots, dot_in_lanes(&a, &b), "{width:?}, {len}");
            }
        }
    }

    #[test]
    fn every_width_gives_the_same_bits_in_both_precisions() {
        every_width_gives_the_same_bits::<f32>();
        every_width_gives_the_same_bits::<f64>();
    }

    #[test]
    fn products_are_sums_of_products() {
        for len in [1, 16, 17, 145] {
            let [a, b] = [1, 2].map(|seed| noise(len, seed).into_iter().map(f64::from).collect::<Vec<_>>());
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - plain).abs() < 1e-12);
        }
    }
}
