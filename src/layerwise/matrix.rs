//! Large matrices, made and factored by all threads. The work is cut the same way however many there are, so that every
//! number of threads gives the same bits.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::prelude::{Reborrow, ReborrowMut};
use faer::{Accum, Mat, MatMut, Par, Side};
use rayon::prelude::*;

/// Columns of one task that fills or maps a matrix.
const PANEL: usize = 64;
/// Rows and columns of a factor's blocks.
const BLOCK: usize = 128;

/// The matrix of `value(row, column)`.
pub(super) fn filled<T: faer::traits::ComplexField>(
    rows: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> T + Sync,
) -> Mat<T> {
    let mut matrix = Mat::zeros(rows, columns);
    in_panels(matrix.as_mut(), PANEL, |start, mut panel| {
        for column in 0..panel.ncols() {
            for row in 0..rows {
                panel[(row, column)] = value(row, start + column);
            }
        }
    });
    matrix
}

/// The product of a matrix with many columns.
pub(super) fn product(matrix: &Mat<f64>, columns: &Mat<f64>) -> Mat<f64> {
    let mut product = Mat::zeros(matrix.nrows(), columns.ncols());
    in_panels(product.as_mut(), PANEL, |start, product| {
        let columns = columns.get(.., start..start + product.ncols());
        matmul(product, Accum::Replace, matrix.as_ref(), columns, 1.0, Par::Seq);
    });
    product
}

/// Gives `task` every so many columns, and where they begin.
pub(super) fn in_panels<T: Send + Sync>(
    matrix: MatMut<'_, T>,
    width: usize,
    task: impl Fn(usize, MatMut<'_, T>) + Sync,
) {
    let mut panels = Vec::with_capacity(matrix.ncols().div_ceil(width));
    let mut rest = matrix;
    while rest.ncols() > width {
        let (panel, right) = rest.split_at_col_mut(width);
        panels.push(panel);
        rest = right;
    }
    panels.push(rest);
    panels.into_par_iter().enumerate().for_each(|(place, panel)| task(place * width, panel));
}

/// The Cholesky factor of a positive definite matrix, `A = L Lᵀ`.
#[derive(Debug)]
pub(super) struct Cholesky {
    /// Whatever is above the diagonal.
    lower: Mat<f64>,
}

impl Cholesky {
    /// Factors the lower triangle of a matrix, none unless it is positive definite: block column by block column, each
    /// taken from all that follow it (Golub and Van Loan, Matrix Computations, 4.2.5).
    pub(super) fn new(mut matrix: Mat<f64>) -> Option<Self> {
        let size = matrix.nrows();
        for start in (0..size).step_by(BLOCK) {
            let width = BLOCK.min(size - start);
            let from_here = matrix.get_mut(start.., start..);
            let (mut corner, _, mut below, mut rest) = from_here.split_at_mut(width, width);
            corner.copy_from(corner.rb().llt(Side::Lower).ok()?.L());
            in_panels(below.rb_mut().transpose_mut(), PANEL, |_, rows| {
                solve_lower_triangular_in_place(corner.rb(), rows, Par::Seq);
            });
            let below = below.rb();
            in_panels(rest.rb_mut(), BLOCK, |start, rest| {
                let columns = below.get(start..start + rest.ncols(), ..);
                let rest = rest.get_mut(start.., ..);
                matmul(rest, Accum::Add, below.get(start.., ..), columns.transpose(), -1.0, Par::Seq);
            });
        }
        Some(Self { lower: matrix })
    }

    /// `A⁻¹ B`.
    pub(super) fn solved(&self, mut columns: Mat<f64>) -> Mat<f64> {
        in_panels(columns.as_mut(), PANEL, |_, mut columns| {
            solve_lower_triangular_in_place(self.lower.as_ref(), columns.rb_mut(), Par::Seq);
            solve_upper_triangular_in_place(self.lower.transpose(), columns, Par::Seq);
        });
        columns
    }

    /// `L⁻¹`.
    pub(super) fn inverse_factor(&self) -> Mat<f64> {
        let size = self.lower.nrows();
        let mut inverse = Mat::zeros(size, size);
        in_panels(inverse.as_mut(), BLOCK, |start, columns| {
            let mut below = columns.get_mut(start.., ..);
            (0..below.ncols()).for_each(|place| below[(place, place)] = 1.0);
            solve_lower_triangular_in_place(self.lower.get(start.., start..), below, Par::Seq);
        });
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::noise;

    /// A positive definite matrix.
    fn definite(size: usize) -> Mat<f64> {
        let values = noise(size * size, size as u64);
        let factor = Mat::from_fn(size, size, |row, column| f64::from(values[row * size + column]));
        let mut matrix = &factor * factor.transpose();
        (0..size).for_each(|i| matrix[(i, i)] += 0.1 * size as f64);
        matrix
    }

    fn largest_difference(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
        (a - b).norm_max()
    }

    #[test]
    fn factors_are_those_of_faer() {
        for size in [0, 1, 2, 63, 64, 65, BLOCK, BLOCK + 1, 2 * BLOCK, 300] {
            let matrix = definite(size);
            let ours = Cholesky::new(matrix.clone()).unwrap();
            let theirs = matrix.llt(Side::Lower).unwrap();
            let lower = filled(size, size, |i, j| if i >= j { ours.lower[(i, j)] } else { 0.0 });
            assert!(largest_difference(&lower, &theirs.L().to_owned()) < 1e-10);
            let unit = &lower * ours.inverse_factor();
            assert!(largest_difference(&unit, &Mat::identity(size, size)) < 1e-10);
            let wanted = definite(size);
            let found = product(&matrix, &ours.solved(wanted.clone()));
            assert!(largest_difference(&found, &wanted) < 1e-9);
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        let size = 2 * BLOCK + 3;
        for place in [0, BLOCK - 1, BLOCK, size - 1] {
            let mut matrix = definite(size);
            matrix[(place, place)] = -1.0;
            assert!(Cholesky::new(matrix).is_none());
        }
    }

    #[test]
    fn every_number_of_threads_gives_the_same_bits() {
        let matrix = definite(2 * BLOCK + 3);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Cholesky::new(matrix.clone()).unwrap().inverse_factor())
        };
        let one = with(1);
        for threads in [2, 3, 8] {
            assert_eq!(with(threads), one);
        }
    }
}
