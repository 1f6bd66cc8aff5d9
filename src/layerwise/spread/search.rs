//! Ways out of a local optimum: the scale of one group is kicked, then codes and scales settle anew.

use super::descend::axpy;
use super::{Block, Problem, Row};

/// What the scale of a group is multiplied by, one factor for each pass over the groups.
const KICKS: [f64; 6] = [0.8, 1.25, 0.9, 1.1, 0.65, 1.5];
/// Kicks times inputs per output channel, which bounds the time.
const EFFORT: usize = 1 << 17;
/// Changes of codes in a row that may pass without a gain.
const DEPTH: usize = 8;
/// Rounds in which codes and scales settle after a kick.
const ROUNDS: usize = 3;
/// A kick must gain this much, relative to the error there is, so that rounding errors are no gain.
const LEAST_GAIN: f64 = 1e-9;

impl Problem {
    /// Kicks one group after another and keeps what is better once codes and scales have settled (iterated local
    /// search: Lourenço, Martin and Stützle, arXiv math/0102188).
    pub(super) fn search(&self, target: &[f64], row: &mut Row) {
        let mut best = State::new(self, target, row);
        let mut trial = best.clone();
        let kicks = KICKS.iter().flat_map(|&factor| (0..self.blocks.len()).map(move |place| (place, factor)));
        for (place, factor) in kicks.take(EFFORT / target.len()) {
            trial.copy(&best);
            if !trial.kick(place, factor) {
                continue;
            }
            trial.settle();
            if trial.error < best.error * (1.0 - LEAST_GAIN) {
                std::mem::swap(&mut best, &mut trial);
            }
        }
        best.store(row);
    }
}

/// A row under change.
#[derive(Clone)]
struct State<'a> {
    problem: &'a Problem,
    /// Place of each weight's block in `problem.blocks`.
    block_of: Vec<usize>,
    codes: Vec<f64>,
    /// Scale of each weight.
    scales: Vec<f64>,
    /// `H (target − value)`.
    gradient: Vec<f64>,
    /// `(target − value)ᵀ H (target − value)`.
    error: f64,
}

impl<'a> State<'a> {
    fn new(problem: &'a Problem, target: &[f64], row: &Row) -> Self {
        let mut block_of = vec![0; target.len()];
        for (place, block) in problem.blocks.iter().enumerate() {
            problem.columns(block).iter().for_each(|&index| block_of[index] = place);
        }
        let scale = |&place: &usize| f64::from(row.scales[problem.blocks[place].id]);
        let scales: Vec<f64> = block_of.iter().map(scale).collect();
        let codes: Vec<f64> = row.codes.iter().map(|&code| f64::from(code)).collect();
        let gradient = problem.gradient(target, row, &problem.groups_by_index());
        let error = (0..target.len()).map(|i| gradient[i] * (target[i] - codes[i] * scales[i])).sum();
        Self { problem, block_of, codes, scales, gradient, error }
    }

    /// Becomes another state of the same row.
    fn copy(&mut self, other: &Self) {
        self.codes.copy_from_slice(&other.codes);
        self.scales.copy_from_slice(&other.scales);
        self.gradient.copy_from_slice(&other.gradient);
        self.error = other.error;
    }

    fn store(&self, row: &mut Row) {
        for block in &self.problem.blocks {
            for &index in self.problem.columns(block) {
                row.scales[block.id] = self.scales[index] as u8;
                row.codes[index] = self.codes[index] as i8;
            }
        }
    }

    /// Multiplies the scale of a block, unless the block is zero.
    fn kick(&mut self, place: usize, factor: f64) -> bool {
        let block = &self.problem.blocks[place];
        let old = self.scales[self.problem.columns(block)[0]];
        let new = (old * factor).round().clamp(1.0, 127.0);
        if old > 0.0 && new != old {
            self.set_scale(block, new);
        }
        old > 0.0 && new != old
    }

    /// Changes codes, then the scales of their blocks, as long as that helps.
    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            let before = self.error;
            let mut touched: Vec<usize> =
                self.change_codes().iter().map(|&index| self.block_of[index]).collect();
            touched.sort_unstable();
            touched.dedup();
            touched.into_iter().for_each(|place| self.fit_scale(place));
            if self.error >= before * (1.0 - LEAST_GAIN) {
                break;
            }
        }
    }

    /// Changes the code that costs least, then the next, each at most once and even if the error rises; what follows
    /// the least error is undone (variable depth: Kernighan and Lin, Bell System Technical Journal 49, 1970).
    fn change_codes(&mut self) -> Vec<usize> {
        let mut moves: Vec<(usize, f64)> = Vec::new();
        let mut fixed: Vec<bool> = self.scales.iter().map(|&scale| scale == 0.0).collect();
        let (mut kept, mut least) = (0, self.error);
        while moves.len() < kept + DEPTH {
            let Some((index, change)) = self.cheapest(&fixed) else { break };
            self.codes[index] += change;
            self.shift(index, change * self.scales[index]);
            moves.push((index, change));
            fixed[index] = true;
            if self.error < least * (1.0 - LEAST_GAIN) {
                (kept, least) = (moves.len(), self.error);
            }
        }
        for &(index, change) in &moves[kept..] {
            self.codes[index] -= change;
            self.shift(index, -change * self.scales[index]);
        }
        self.error = least;
        moves[..kept].iter().map(|&(index, _)| index).collect()
    }

    /// The change of a code that adds least to the error, among codes that are not fixed.
    fn cheapest(&self, fixed: &[bool]) -> Option<(usize, f64)> {
        let mut best = (f64::INFINITY, None);
        for (index, &fixed) in fixed.iter().enumerate() {
            let cost = self.change_of(index).0;
            if cost < best.0 && !fixed {
                best = (cost, Some(index));
            }
        }
        best.1.map(|index| (index, self.change_of(index).1))
    }

    /// What the best change of one code adds to the error, and the change.
    #[inline]
    fn change_of(&self, index: usize) -> (f64, f64) {
        let (code, scale) = (self.codes[index], self.scales[index]);
        let slope = self.gradient[index] * scale;
        let curvature = self.problem.diagonal[index] * scale * scale;
        if code == 0.0 {
            return (curvature - 2.0 * slope.abs(), slope.signum());
        }
        let along = curvature + 2.0 * slope * code;
        let over = 4.0 * (curvature + slope * code);
        if along <= over { (along, -code) } else { (over, -2.0 * code) }
    }

    /// The best 8-bit scale of a block, all else fixed.
    fn fit_scale(&mut self, place: usize) {
        let block = &self.problem.blocks[place];
        let columns = self.problem.columns(block);
        let (old, code) = (self.scales[columns[0]], |index: usize| self.codes[index]);
        if let Some(scale) = self.problem.best_scale(columns, old, code, &self.gradient) {
            self.set_scale(block, scale);
        }
    }

    fn set_scale(&mut self, block: &Block, scale: f64) {
        for &index in self.problem.columns(block) {
            let step = (scale - self.scales[index]) * self.codes[index];
            self.scales[index] = scale;
            self.shift(index, step);
        }
    }

    /// Adds `step` to the value of one weight.
    fn shift(&mut self, index: usize, step: f64) {
        if step != 0.0 {
            self.error += step * (step * self.problem.diagonal[index] - 2.0 * self.gradient[index]);
            axpy(-step, self.problem.hessian.col_as_slice(index), &mut self.gradient);
        }
    }
}

#[cfg(test)]
mod tests;
