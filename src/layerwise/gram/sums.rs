//! Sums of products, from which the covariances follow.

use super::{Inputs, Wanted};
use crate::layerwise::matrix::filled;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

/// Columns of one parallel task.
pub(super) const PANEL: usize = 96;

/// Sums from which the moments of the inputs follow.
pub(super) struct InputSums {
    count: f64,
    sums: Vec<f64>,
    /// Lower triangle of `inputs × inputs` in panels of columns, each from its diagonal down.
    squares: Vec<Mat<f64>>,
}

impl InputSums {
    pub(super) fn new(inputs: usize) -> Self {
        let squares = panels(inputs).map(|(start, width)| Mat::zeros(inputs - start, width)).collect();
        Self { count: 0.0, sums: vec![0.0; inputs], squares }
    }

    /// Adds samples as columns.
    pub(super) fn add(&mut self, x: &Mat<f32>) {
        self.count += x.ncols() as f64;
        (0..x.ncols()).for_each(|column| add_powers(&mut self.sums, x.col_as_slice(column), 1));
        self.squares.par_iter_mut().enumerate().for_each(|(panel, sums)| {
            let start = panel * PANEL;
            add_product(sums, x.get(start.., ..), x.get(start..start + sums.ncols(), ..));
        });
    }

    /// `zero` is the zero point as a centred code.
    pub(super) fn finish(self, zero: f64) -> Inputs {
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / self.count).collect();
        let square = |i: usize, j: usize| {
            let (i, j) = (i.max(j), i.min(j));
            self.squares[j / PANEL][(i - j / PANEL * PANEL, j % PANEL)]
        };
        let covariance =
            filled(means.len(), means.len(), |i, j| square(i, j) / self.count - means[i] * means[j]);
        Inputs { covariance, means: means.into_iter().map(|mean| mean - zero).collect(), zero }
    }
}

/// Sums from which the moments of wanted outputs follow, alone and with the inputs.
pub(super) struct WantedSums {
    count: f64,
    /// `inputs × outputs` in panels of columns.
    cross: Vec<Mat<f64>>,
    sums: Vec<f64>,
    /// Of the outputs without corrections: sums and squares.
    own: [Vec<f64>; 2],
}

impl WantedSums {
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        Self {
            count: 0.0,
            cross: panels(outputs).map(|(_, width)| Mat::zeros(inputs, width)).collect(),
            sums: vec![0.0; outputs],
            own: [vec![0.0; outputs], vec![0.0; outputs]],
        }
    }

    /// Adds samples as columns; `corrections` are parts of the outputs that do not count in their variance.
    pub(super) fn add(&mut self, x: &Mat<f32>, y: &Mat<f32>, corrections: Option<&Mat<f32>>) {
        self.count += x.ncols() as f64;
        let own = corrections.map(|corrections| y - corrections);
        let own = own.as_ref().unwrap_or(y);
        for column in 0..x.ncols() {
            add_powers(&mut self.sums, y.col_as_slice(column), 1);
            add_powers(&mut self.own[0], own.col_as_slice(column), 1);
            add_powers(&mut self.own[1], own.col_as_slice(column), 2);
        }
        self.cross.par_iter_mut().enumerate().for_each(|(panel, sums)| {
            add_product(sums, x.as_ref(), y.get(panel * PANEL..panel * PANEL + sums.ncols(), ..));
        });
    }

    /// The moments, given the means of the inputs.
    pub(super) fn finish(self, inputs: &[f64]) -> Wanted {
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / self.count).collect();
        let cross = filled(inputs.len(), means.len(), |i, o| {
            self.cross[o / PANEL][(i, o % PANEL)] / self.count - inputs[i] * means[o]
        });
        let variance =
            |(sum, square): (&f64, &f64)| (square / self.count - (sum / self.count).powi(2)).max(0.0);
        let variances = self.own[0].iter().zip(&self.own[1]).map(variance).collect();
        Wanted { cross, means, variances }
    }
}

fn add_powers(sums: &mut [f64], values: &[f32], power: i32) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value).powi(power));
}

/// Adds `a bᵀ` to `sums`.
fn add_product(sums: &mut Mat<f64>, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let mut product = Mat::zeros(a.nrows(), b.nrows());
    matmul(product.as_mut(), Accum::Replace, a, b.transpose(), 1.0, Par::Seq);
    for column in 0..sums.ncols() {
        let product = product.col_as_slice(column);
        sums.col_as_slice_mut(column).iter_mut().zip(product).for_each(|(sum, &x)| *sum += f64::from(x));
    }
}

/// Start and width of each panel.
fn panels(total: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..total).step_by(PANEL).map(move |start| (start, PANEL.min(total - start)))
}
