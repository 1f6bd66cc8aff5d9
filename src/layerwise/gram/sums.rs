//! Sums of products, from which the covariances follow.

use super::{Inputs, Wanted};
use crate::layerwise::matrix::filled;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

/// Columns of one parallel task.
pub(super) const PANEL: usize = 192;

/// Sums from which the moments of the inputs follow.
pub(super) struct InputSums {
    count: f64,
    panels: Vec<InputPanel>,
}

/// Sums of some inputs, one task.
struct InputPanel {
    start: usize,
    sums: Vec<f64>,
    /// Their columns of the lower triangle of `inputs × inputs`, from the diagonal down.
    squares: Mat<f64>,
}

impl InputSums {
    pub(super) fn new(inputs: usize) -> Self {
        let panel = |(start, width)| InputPanel {
            start,
            sums: vec![0.0; width],
            squares: Mat::zeros(inputs - start, width),
        };
        Self { count: 0.0, panels: panels(inputs).map(panel).collect() }
    }

    /// Adds samples, which are columns.
    pub(super) fn add(&mut self, blocks: &[&Mat<f32>]) {
        self.count += blocks.iter().map(|x| x.ncols() as f64).sum::<f64>();
        self.panels.par_iter_mut().for_each(|panel| blocks.iter().for_each(|x| panel.add(x)));
    }

    /// `zero` is the zero point as a centred code.
    pub(super) fn finish(self, zero: f64) -> Inputs {
        let sums = self.panels.iter().flat_map(|panel| &panel.sums);
        let means: Vec<f64> = sums.map(|sum| sum / self.count).collect();
        let square = |i: usize, j: usize| {
            let (i, j) = (i.max(j), i.min(j));
            self.panels[j / PANEL].squares[(i - j / PANEL * PANEL, j % PANEL)]
        };
        let covariance =
            filled(means.len(), means.len(), |i, j| square(i, j) / self.count - means[i] * means[j]);
        Inputs { covariance, means: means.into_iter().map(|mean| mean - zero).collect(), zero }
    }
}

impl InputPanel {
    fn add(&mut self, x: &Mat<f32>) {
        let (start, width) = (self.start, self.sums.len());
        (0..x.ncols()).for_each(|column| add(&mut self.sums, part(x, column, start, width)));
        add_product(&mut self.squares, x.get(start.., ..), x.get(start..start + width, ..));
    }
}

/// Sums from which the moments of wanted outputs follow, alone and with the inputs.
pub(super) struct WantedSums {
    count: f64,
    panels: Vec<WantedPanel>,
}

/// Samples as columns.
pub(super) struct WantedBlock<'a> {
    pub inputs: &'a Mat<f32>,
    pub wanted: &'a Mat<f32>,
    /// Parts of the outputs that do not count in their variance.
    pub corrections: Option<&'a Mat<f32>>,
}

/// Sums of some outputs, one task.
struct WantedPanel {
    start: usize,
    /// `inputs × outputs`.
    cross: Mat<f64>,
    sums: Vec<f64>,
    /// Of the outputs without corrections: sums and squares.
    own: [Vec<f64>; 2],
}

impl WantedSums {
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        let panel = |(start, width)| WantedPanel {
            start,
            cross: Mat::zeros(inputs, width),
            sums: vec![0.0; width],
            own: [vec![0.0; width], vec![0.0; width]],
        };
        Self { count: 0.0, panels: panels(outputs).map(panel).collect() }
    }

    pub(super) fn add(&mut self, blocks: &[WantedBlock]) {
        self.count += blocks.iter().map(|block| block.inputs.ncols() as f64).sum::<f64>();
        self.panels.par_iter_mut().for_each(|panel| blocks.iter().for_each(|block| panel.add(block)));
    }

    /// The moments, given the means of the inputs.
    pub(super) fn finish(self, inputs: &[f64]) -> Wanted {
        let sums = self.panels.iter().flat_map(|panel| &panel.sums);
        let means: Vec<f64> = sums.map(|sum| sum / self.count).collect();
        let cross = filled(inputs.len(), means.len(), |i, o| {
            self.panels[o / PANEL].cross[(i, o % PANEL)] / self.count - inputs[i] * means[o]
        });
        let variance =
            |(sum, square): (&f64, &f64)| (square / self.count - (sum / self.count).powi(2)).max(0.0);
        let own = self.panels.iter().flat_map(|panel| panel.own[0].iter().zip(&panel.own[1]));
        Wanted { cross, variances: own.map(variance).collect(), means }
    }
}

impl WantedPanel {
    fn add(&mut self, block: &WantedBlock) {
        let (start, width) = (self.start, self.sums.len());
        let mut own = vec![0.0; width];
        for column in 0..block.inputs.ncols() {
            let of = |values| part(values, column, start, width);
            add(&mut self.sums, of(block.wanted));
            own.copy_from_slice(of(block.wanted));
            if let Some(corrections) = block.corrections {
                own.iter_mut().zip(of(corrections)).for_each(|(own, correction)| *own -= correction);
            }
            add(&mut self.own[0], &own);
            add_squares(&mut self.own[1], &own);
        }
        let wanted = block.wanted.get(start..start + width, ..);
        add_product(&mut self.cross, block.inputs.as_ref(), wanted);
    }
}

/// Some rows of a column.
fn part(matrix: &Mat<f32>, column: usize, start: usize, width: usize) -> &[f32] {
    &matrix.col_as_slice(column)[start..][..width]
}

fn add(sums: &mut [f64], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value));
}

fn add_squares(sums: &mut [f64], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value).powi(2));
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
