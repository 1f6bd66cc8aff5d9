//! Error spreading: groups are rounded one after another, each group's error moved to the weights that are
//! still free, as OBQ and GPTQ do per column (Frantar et al., arXiv 2210.17323).

mod descend;
mod search;
mod state;

use super::vector::{axpy, dot, times};
use crate::precision::Rounding;
use crate::ternarize::solve;
use faer::{Mat, Side};
use state::State;
use std::ops::Range;

/// Largest group whose sign patterns are all tried.
const EXHAUSTIVE: usize = 4;
/// Scales tried for larger groups, relative to the closed form's.
const FACTORS: [f64; 7] = [0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.45];

/// One layer's (or channel group's) least-squares problem, shared by all its output channels.
#[derive(Debug)]
pub(super) struct LeastSquares {
    /// Damped covariance of the inputs, in storage order.
    hessian: Mat<f64>,
    diagonal: Vec<f64>,
    /// Storage index of each column in processing order.
    order: Vec<usize>,
    /// Upper factor of the inverse covariance in processing order, stored by rows as columns of the lower one.
    factor: Mat<f64>,
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
    /// Sign patterns and their images under the block's inverse factor; empty for large groups.
    patterns: Vec<SignPattern>,
    /// Lower factor of the block's own damped covariance.
    inner: Mat<f64>,
}

#[derive(Debug)]
struct SignPattern {
    signs: Vec<i8>,
    image: Vec<f64>,
    square: f64,
    /// `tᵀHt` with the signs `t`.
    own_square: f64,
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
        let permuted = Mat::from_fn(inputs, inputs, |i, j| hessian[(order[i], order[j])]);
        let inverse = faer::linalg::solvers::DenseSolveCore::inverse(&permuted.llt(Side::Lower).ok()?);
        drop(permuted);
        let factor = inverse.llt(Side::Lower).ok()?.L().to_owned();
        let mut blocks = Vec::with_capacity(groups.len());
        let (mut start, mut block_of) = (0, vec![0; inputs]);
        for (place, id) in ranked.into_iter().enumerate() {
            let columns = groups[id].clone();
            block_of[columns.clone()].fill(place);
            blocks.push(Block::new(start, id, columns.clone(), &factor, &hessian)?);
            start += columns.len();
        }
        Some(Self { hessian, diagonal, order, factor, blocks, block_of })
    }

    /// Codes and scales up to `largest` for output channels with these target weights, each in units of its factor.
    pub(super) fn solve(&self, targets: &[Vec<f64>], largest: f64) -> Vec<ChannelSolution> {
        let rows = self.round_all(targets, largest);
        let errors: Vec<Vec<f64>> =
            targets.iter().zip(&rows).map(|(target, row)| self.errors(target, row)).collect();
        let gradients = times(&self.hessian, &errors);
        let solve = |(place, row): (usize, &ChannelSolution)| {
            let gradient = gradients.col_as_slice(place).to_vec();
            let mut state = State::new(self, row, &errors[place], gradient, largest);
            state.descend();
            state.search();
            state.descend();
            state.row()
        };
        rows.iter().enumerate().map(solve).collect()
    }

    /// What rounding alone leaves of the error of each output channel.
    pub(super) fn rounding_errors(&self, targets: &[Vec<f64>], largest: f64) -> Vec<f64> {
        let rows = self.round_all(targets, largest);
        let errors: Vec<Vec<f64>> =
            targets.iter().zip(&rows).map(|(target, row)| self.errors(target, row)).collect();
        let gradients = times(&self.hessian, &errors);
        errors.iter().enumerate().map(|(place, error)| dot(error, gradients.col_as_slice(place))).collect()
    }

    /// The same codes and scales of one plane after another has changed: `errors` is what all planes together leave.
    pub(super) fn improve(&self, row: &ChannelSolution, errors: &[f64], largest: f64) -> ChannelSolution {
        let gradient = times(&self.hessian, &[errors.to_vec()]).col_as_slice(0).to_vec();
        let mut state = State::new(self, row, errors, gradient, largest);
        state.descend();
        state.row()
    }

    /// `target − value`.
    pub(super) fn errors(&self, target: &[f64], row: &ChannelSolution) -> Vec<f64> {
        target.iter().zip(self.values(row)).map(|(target, value)| target - value).collect()
    }

    /// Codes times scales.
    pub(super) fn values(&self, row: &ChannelSolution) -> Vec<f64> {
        let mut values = vec![0.0; row.codes.len()];
        for block in &self.blocks {
            let scale = f64::from(row.scales[block.id]);
            for index in block.columns.clone() {
                values[index] = scale * f64::from(row.codes[index]);
            }
        }
        values
    }

    /// Levels for weights whose steps are given: spreading, then coordinate descent.
    pub(super) fn solve_levels(&self, target: &[f64], steps: &[f64], rounding: &Rounding) -> Vec<i8> {
        let code = |value: f64, step: f64| rounding.level(value, step);
        let mut free: Vec<f64> = self.order.iter().map(|&index| target[index]).collect();
        let mut codes = vec![0; target.len()];
        for (column, &index) in self.order.iter().enumerate() {
            codes[index] = code(free[column], steps[index]);
            self.spread_column(column, f64::from(codes[index]) * steps[index], &mut free);
        }
        self.descend_codes(target, steps, code, &mut codes);
        codes
    }

    /// Rounds group after group.
    fn round_all(&self, targets: &[Vec<f64>], largest: f64) -> Vec<ChannelSolution> {
        let in_order = |target: &Vec<f64>| self.order.iter().map(|&index| target[index]).collect();
        let mut free: Vec<Vec<f64>> = targets.iter().map(in_order).collect();
        let empty = ChannelSolution { codes: vec![0; self.order.len()], scales: vec![0; self.blocks.len()] };
        let mut rows = vec![empty; targets.len()];
        for block in &self.blocks {
            for (free, row) in free.iter_mut().zip(&mut rows) {
                let (signs, scale) = block.round(&free[block.start..][..block.len], &self.factor, largest);
                self.spread(block, &signs, f64::from(scale), free);
                row.scales[block.id] = scale;
                row.codes[block.columns.clone()].copy_from_slice(&signs);
            }
        }
        rows
    }

    /// Moves a block's rounding error to the columns after it.
    fn spread(&self, block: &Block, signs: &[i8], scale: f64, free: &mut [f64]) {
        for (offset, &sign) in signs.iter().enumerate() {
            self.spread_column(block.start + offset, scale * f64::from(sign), free);
        }
    }

    fn spread_column(&self, column: usize, value: f64, free: &mut [f64]) {
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
        let inner = Mat::from_fn(len, len, |i, j| hessian[(first + i, first + j)]);
        let inner = inner.llt(Side::Lower).ok()?.L().to_owned();
        let mut block = Self { start, len, id, columns, patterns: Vec::new(), inner };
        if len <= EXHAUSTIVE {
            block.patterns =
                (1..3usize.pow(len as u32)).map(|number| block.pattern(number, factor, hessian)).collect();
        }
        Some(block)
    }

    fn pattern(&self, mut number: usize, factor: &Mat<f64>, hessian: &Mat<f64>) -> SignPattern {
        let mut digit = || {
            let digit = number % 3;
            number /= 3;
            [0, 1, -1][digit]
        };
        let signs: Vec<i8> = (0..self.len).map(|_| digit()).collect();
        let real: Vec<f64> = signs.iter().map(|&sign| f64::from(sign)).collect();
        let image = self.image(&real, factor);
        let square = image.iter().map(|value| value * value).sum();
        let column = |index: usize| &hessian.col_as_slice(index)[self.columns.clone()];
        let own_square =
            self.columns.clone().zip(&real).map(|(index, sign)| sign * dot(column(index), &real)).sum();
        SignPattern { signs, image, square, own_square }
    }

    /// Solves `Uᵀ e = w` within the block: the error that rounding `w` to zero would spread.
    fn image(&self, weights: &[f64], factor: &Mat<f64>) -> Vec<f64> {
        let mut rest = weights.to_vec();
        for column in 0..self.len {
            let lower = &factor.col_as_slice(self.start + column)[self.start..];
            rest[column] /= lower[column];
            let error = rest[column];
            for row in column + 1..self.len {
                rest[row] -= error * lower[row];
            }
        }
        rest
    }

    fn round(&self, weights: &[f64], factor: &Mat<f64>, largest: f64) -> (Vec<i8>, u8) {
        let image = self.image(weights, factor);
        if self.patterns.is_empty() {
            self.round_columns(weights, &image, factor, largest)
        } else {
            self.round_patterns(&image, largest)
        }
    }

    /// The pattern and whole scale with the least error.
    fn round_patterns(&self, image: &[f64], largest: f64) -> (Vec<i8>, u8) {
        let mut best: (f64, Option<&SignPattern>, u8) = (0.0, None, 0);
        for pattern in &self.patterns {
            let dot: f64 = pattern.image.iter().zip(image).map(|(a, b)| a * b).sum();
            if dot <= 0.0 {
                continue;
            }
            let scale = (dot / pattern.square).round().clamp(0.0, largest);
            let gain = scale * (2.0 * dot - scale * pattern.square);
            if gain > best.0 {
                best = (gain, Some(pattern), scale as u8);
            }
        }
        best.1.map_or_else(|| (vec![0; self.len], 0), |pattern| (pattern.signs.clone(), best.2))
    }

    /// Column by column for several scales; the codes with the least error then get their best scale.
    fn round_columns(
        &self,
        weights: &[f64],
        image: &[f64],
        factor: &Mat<f64>,
        largest: f64,
    ) -> (Vec<i8>, u8) {
        let start = closed_form_scale(weights);
        let mut best: (f64, Vec<i8>, u8) = (0.0, vec![0; self.len], 0);
        for share in FACTORS {
            let signs = self.column_signs(weights, start * share, factor);
            let pattern = self.image(&signs.iter().map(|&sign| f64::from(sign)).collect::<Vec<_>>(), factor);
            let square: f64 = pattern.iter().map(|value| value * value).sum();
            let dot: f64 = pattern.iter().zip(image).map(|(a, b)| a * b).sum();
            let scale = if square > 0.0 { (dot / square).round().clamp(0.0, largest) } else { 0.0 };
            let gain = scale * (2.0 * dot - scale * square);
            if gain > best.0 {
                best = (gain, signs, scale as u8);
            }
        }
        (best.1, best.2)
    }

    fn column_signs(&self, weights: &[f64], scale: f64, factor: &Mat<f64>) -> Vec<i8> {
        let mut rest = weights.to_vec();
        (0..self.len)
            .map(|column| {
                let sign = if scale > 0.0 { (rest[column] / scale).round().clamp(-1.0, 1.0) } else { 0.0 };
                let lower = &factor.col_as_slice(self.start + column)[self.start..];
                let error = (rest[column] - scale * sign) / lower[column];
                for row in column + 1..self.len {
                    rest[row] -= error * lower[row];
                }
                sign as i8
            })
            .collect()
    }
}

/// Ranges of `group` columns; the last one may be shorter.
fn cut(columns: Range<usize>, group: usize) -> impl Iterator<Item = Range<usize>> {
    columns.clone().step_by(group).map(move |start| start..columns.end.min(start + group))
}

/// The best scale of a group on its own.
pub(super) fn closed_form_scale(weights: &[f64]) -> f64 {
    solve(weights.iter().copied(), &mut Vec::with_capacity(weights.len())).scale
}

#[cfg(test)]
mod tests;
