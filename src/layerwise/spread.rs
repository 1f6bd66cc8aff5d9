//! Error spreading: groups are rounded one after another, each group's error moved to the weights that are
//! still free, as OBQ and GPTQ do per column (Frantar et al., arXiv 2210.17323).

mod descend;
mod patterns;
mod search;
mod state;
mod trials;

use super::matrix::{Cholesky, filled};
use super::vector::{axpy, dot, times};
use crate::precision::Rounding;
use crate::ternarize::solve;
use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};
use patterns::{EXHAUSTIVE, Squares};
use state::State;
use std::ops::Range;
use trials::{LANES, Trials};

/// Scales tried for larger groups, relative to the closed form's.
const FACTORS: [f32; LANES] = [0.7, 0.8, 0.87, 0.93, 1.0, 1.1, 1.25, 1.45];

/// One layer's (or channel group's) least-squares problem, shared by all its output channels. Prepared in `f64`, solved
/// in `f32`: codes and scales need no more.
#[derive(Debug)]
pub(super) struct LeastSquares {
    /// Damped covariance of the inputs, in storage order.
    hessian: Mat<f32>,
    diagonal: Vec<f32>,
    /// Storage index of each column in processing order.
    order: Vec<usize>,
    /// Upper factor of the inverse covariance in processing order, stored by rows as columns of the lower one.
    factor: Mat<f32>,
    blocks: Vec<Block>,
    /// Place of each weight's block in `blocks`.
    block_of: Vec<usize>,
}

/// One group of weights that share a scale.
#[derive(Debug)]
struct Block {
    /// First column in processing order.
    start: usize,
    len: usize,
    /// Number in storage order.
    id: usize,
    /// Its weights in storage order.
    columns: Range<usize>,
    metric: Metric,
}

/// What a block's errors cost.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "small blocks, of which there are many, are read without a pointer"
)]
enum Metric {
    /// So few weights that all patterns are tried.
    Few {
        /// When the later blocks make up for its error: the inverse of its block of the inverse covariance.
        free: [[f32; EXHAUSTIVE]; EXHAUSTIVE],
        free_squares: Squares,
        /// When all else stays: its block of the covariance.
        own_squares: Squares,
    },
    /// Lower factor of the block's own damped covariance.
    Many(Mat<f32>),
}

/// The nearest whole number of a value of at most 2²²: adding this and taking it away leaves no room for a fraction. Unlike
/// `round` it needs no call where registers are narrow.
#[inline(always)]
fn whole(value: f32) -> f32 {
    const NO_FRACTION: f32 = 12_582_912.0;
    value + NO_FRACTION - NO_FRACTION
}

/// Signs of a block and their scale.
#[derive(Debug)]
struct BlockSolution {
    /// At least as many as the block has weights.
    signs: Vec<f32>,
    scale: f32,
}

/// One output channel's solution in storage order.
#[derive(Debug, Clone)]
pub(super) struct ChannelSolution {
    pub codes: Vec<i8>,
    /// One scale per group.
    pub scales: Vec<u8>,
}

impl LeastSquares {
    /// Prepares a damped, positive definite covariance for groups of `group` in runs of `run` inputs.
    pub(super) fn new(hessian: Mat<f64>, run: usize, group: usize) -> Option<Self> {
        let inputs = hessian.nrows();
        let runs = (0..inputs).step_by(run);
        let groups: Vec<Range<usize>> = runs.flat_map(|start| cut(start..start + run, group)).collect();
        let diagonal: Vec<f64> = (0..inputs).map(|i| hessian[(i, i)]).collect();
        let mass = |group: &Range<usize>| diagonal[group.clone()].iter().sum::<f64>() / group.len() as f64;
        let mut ranked: Vec<usize> = (0..groups.len()).collect();
        ranked.sort_by(|&a, &b| mass(&groups[b]).total_cmp(&mass(&groups[a])).then(a.cmp(&b)));
        let order: Vec<usize> = ranked.iter().flat_map(|&id| groups[id].clone()).collect();
        let factor = inverse_factor(&hessian, &order)?;
        let mut blocks = Vec::with_capacity(groups.len());
        let (mut start, mut block_of) = (0, vec![0; inputs]);
        for (place, id) in ranked.into_iter().enumerate() {
            let columns = groups[id].clone();
            block_of[columns.clone()].fill(place);
            blocks.push(Block::new(start, id, columns.clone(), &factor, &hessian)?);
            start += columns.len();
        }
        Some(Self {
            hessian: narrow(&hessian),
            diagonal: diagonal.into_iter().map(|value| value as f32).collect(),
            order,
            factor: narrow(&factor),
            blocks,
            block_of,
        })
    }

    /// Codes and scales up to `largest` for output channels with these target weights, each in units of its factor.
    pub(super) fn solve(&self, targets: &[Vec<f32>], largest: f32) -> Vec<ChannelSolution> {
        let rows = self.round_all(targets, largest);
        let errors: Vec<Vec<f32>> =
            targets.iter().zip(&rows).map(|(target, row)| self.errors(target, row)).collect();
        let gradients = times(&self.hessian, &errors);
        let state = |(place, row): (usize, &ChannelSolution)| {
            State::new(self, row, &errors[place], gradients.col_as_slice(place).to_vec(), largest)
        };
        let mut states: Vec<State> = rows.iter().enumerate().map(state).collect();
        self.descend(&mut states);
        states.iter_mut().for_each(State::search);
        self.descend(&mut states);
        states.iter().map(State::row).collect()
    }

    /// What rounding alone leaves of the error of each output channel.
    pub(super) fn rounding_errors(&self, targets: &[Vec<f32>], largest: f32) -> Vec<f32> {
        let rows = self.round_all(targets, largest);
        let errors: Vec<Vec<f32>> =
            targets.iter().zip(&rows).map(|(target, row)| self.errors(target, row)).collect();
        let gradients = times(&self.hessian, &errors);
        errors.iter().enumerate().map(|(place, error)| dot(error, gradients.col_as_slice(place))).collect()
    }

    /// The same codes and scales of one plane after another has changed: `errors` is what all planes together leave.
    pub(super) fn improve(&self, row: &ChannelSolution, errors: &[f32], largest: f32) -> ChannelSolution {
        let gradient = times(&self.hessian, &[errors.to_vec()]).col_as_slice(0).to_vec();
        let mut state = [State::new(self, row, errors, gradient, largest)];
        self.descend(&mut state);
        state[0].row()
    }

    /// `target − value`.
    pub(super) fn errors(&self, target: &[f32], row: &ChannelSolution) -> Vec<f32> {
        target.iter().zip(self.values(row)).map(|(target, value)| target - value).collect()
    }

    /// Codes times scales.
    pub(super) fn values(&self, row: &ChannelSolution) -> Vec<f32> {
        let mut values = vec![0.0; row.codes.len()];
        for block in &self.blocks {
            let scale = f32::from(row.scales[block.id]);
            for index in block.columns.clone() {
                values[index] = scale * f32::from(row.codes[index]);
            }
        }
        values
    }

    /// Levels for weights whose steps are given, by spreading, then coordinate descent, and the error that is left.
    pub(super) fn solve_levels(&self, target: &[f32], steps: &[f32], rounding: &Rounding) -> (Vec<i8>, f32) {
        let code = |value: f32, step: f32| rounding.level(f64::from(value), f64::from(step));
        let mut free: Vec<f32> = self.order.iter().map(|&index| target[index]).collect();
        let mut codes = vec![0; target.len()];
        for (column, &index) in self.order.iter().enumerate() {
            codes[index] = code(free[column], steps[index]);
            self.spread_column(column, f32::from(codes[index]) * steps[index], &mut free);
        }
        let error = self.descend_codes(target, steps, code, &mut codes);
        (codes, error)
    }

    /// Rounds group after group.
    fn round_all(&self, targets: &[Vec<f32>], largest: f32) -> Vec<ChannelSolution> {
        let in_order = |target: &Vec<f32>| self.order.iter().map(|&index| target[index]).collect();
        let mut free: Vec<Vec<f32>> = targets.iter().map(in_order).collect();
        let empty = ChannelSolution { codes: vec![0; self.order.len()], scales: vec![0; self.blocks.len()] };
        let mut rows = vec![empty; targets.len()];
        for block in &self.blocks {
            for (free, row) in free.iter_mut().zip(&mut rows) {
                let found = block.round(&free[block.start..][..block.len], &self.factor, largest);
                let BlockSolution { signs, scale } = found.unwrap_or_else(|| block.zeros());
                self.spread(block, &signs[..block.len], scale, free);
                row.scales[block.id] = scale as u8;
                let codes = row.codes[block.columns.clone()].iter_mut();
                codes.zip(signs).for_each(|(code, sign)| *code = sign as i8);
            }
        }
        rows
    }

    /// Moves a block's rounding error to the columns after it.
    fn spread(&self, block: &Block, signs: &[f32], scale: f32, free: &mut [f32]) {
        for (offset, &sign) in signs.iter().enumerate() {
            self.spread_column(block.start + offset, scale * sign, free);
        }
    }

    fn spread_column(&self, column: usize, value: f32, free: &mut [f32]) {
        let lower = self.factor.col_as_slice(column);
        let error = (free[column] - value) / lower[column];
        axpy(-error, &lower[column..], &mut free[column..]);
    }
}

impl Block {
    fn new(
        start: usize,
        id: usize,
        columns: Range<usize>,
        factor: &Mat<f64>,
        hessian: &Mat<f64>,
    ) -> Option<Self> {
        let (len, first) = (columns.len(), columns.start);
        let own = |i: usize, j: usize| hessian[(first + i, first + j)];
        let metric = if len > EXHAUSTIVE {
            Metric::Many(narrow(&Mat::from_fn(len, len, own).llt(Side::Lower).ok()?.L().to_owned()))
        } else {
            let lower = |i: usize, j: usize| if j <= i { factor[(start + i, start + j)] } else { 0.0 };
            let lower = Mat::from_fn(len, len, lower);
            let free = (&lower * lower.transpose()).llt(Side::Lower).ok()?.inverse();
            let at = |i: usize, j: usize| if i.max(j) < len { free[(i, j)] as f32 } else { 0.0 };
            Metric::Few {
                free: std::array::from_fn(|i| std::array::from_fn(|j| at(i, j))),
                free_squares: Squares::new(len, |i, j| free[(i, j)]),
                own_squares: Squares::new(len, own),
            }
        };
        Some(Self { start, len, id, columns, metric })
    }

    fn zeros(&self) -> BlockSolution {
        BlockSolution { signs: vec![0.0; self.len], scale: 0.0 }
    }

    /// Codes and scale for `weights`, while later blocks can make up for the error; none if zeros are best.
    fn round(&self, weights: &[f32], factor: &Mat<f32>, largest: f32) -> Option<BlockSolution> {
        let Metric::Few { free, free_squares, .. } = &self.metric else {
            let start = closed_form_scale(weights.iter().map(|&weight| f64::from(weight))) as f32;
            let column = |column: usize| &factor.col_as_slice(self.start + column)[self.start + column..];
            return (start > 0.0)
                .then(|| Trials::spread(weights, FACTORS.map(|factor| factor * start), column))
                .and_then(|trials| trials.best(largest, 0.0));
        };
        let wanted = free.map(|row| row.iter().zip(weights).map(|(metric, weight)| metric * weight).sum());
        free_squares.best(wanted, largest, 0.0)
    }
}

/// The lower factor F of the inverse of a covariance in another order, `H⁻¹ = F Fᵀ`. With `H = U Uᵀ`, which is the usual
/// factorization from the last row to the first, `F = U⁻ᵀ`.
fn inverse_factor(hessian: &Mat<f64>, order: &[usize]) -> Option<Mat<f64>> {
    let last = order.len().checked_sub(1)?;
    let reversed = filled(order.len(), order.len(), |i, j| hessian[(order[last - i], order[last - j])]);
    let inverse = Cholesky::new(reversed)?.inverse_factor();
    Some(filled(order.len(), order.len(), |i, j| inverse[(last - j, last - i)]))
}

fn narrow(matrix: &Mat<f64>) -> Mat<f32> {
    filled(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i, j)] as f32)
}

/// Ranges of `group` columns; the last one may be shorter.
fn cut(columns: Range<usize>, group: usize) -> impl Iterator<Item = Range<usize>> {
    columns.clone().step_by(group).map(move |start| start..columns.end.min(start + group))
}

/// The best scale of a group on its own.
pub(super) fn closed_form_scale(weights: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let len = weights.len();
    solve(weights, &mut Vec::with_capacity(len)).scale
}

#[cfg(test)]
mod tests;
