//! Coordinate descent on codes and scales with the whole covariance: block by block, then column by column.

use super::patterns::EXHAUSTIVE;
use super::state::State;
use super::trials::{LANES, Trials};
use super::{Block, LeastSquares, Metric, closed_form_scale};
use crate::layerwise::vector::{axpy, dot, times};
use faer::Mat;

/// Rounds at most.
const ROUNDS: usize = 10;
/// Scales tried when a block is decoded, relative to the one it has.
const FACTORS: [f32; LANES] = [0.75, 0.85, 0.93, 1.0, 1.04, 1.08, 1.2, 1.35];
/// A change must gain this much, relative to what there is, so that rounding errors are no gain.
const LEAST_GAIN: f32 = 1e-5;

impl LeastSquares {
    /// Coordinate descent on codes and scales with the whole covariance, on all rows together, so that each reads a part
    /// of it while it is near.
    pub(super) fn descend(&self, states: &mut [State]) {
        let mut moving = vec![true; states.len()];
        for _ in 0..ROUNDS {
            let mut changed = vec![false; states.len()];
            for block in &self.blocks {
                let rows =
                    states.iter_mut().zip(&moving).zip(&mut changed).filter(|((_, moving), _)| **moving);
                for ((state, _), changed) in rows {
                    *changed |= state.resolve_block(block) | state.improve_codes(block);
                }
            }
            moving = changed;
            if !moving.contains(&true) {
                break;
            }
        }
        states.iter_mut().for_each(|state| self.blocks.iter().for_each(|block| state.tidy(block)));
    }
}

impl State<'_> {
    /// A group of zeros is one in codes and in its scale.
    fn tidy(&mut self, block: &Block) {
        if self.scale(block) == 0.0 {
            self.codes[block.columns.clone()].fill(0.0);
        } else if self.codes[block.columns.clone()].iter().all(|&code| code == 0.0) {
            self.scales[block.columns.clone()].fill(0.0);
        }
    }

    /// Solves one block anew, all others fixed, and takes the solution if it is better.
    fn resolve_block(&mut self, block: &Block) -> bool {
        let better = match &block.metric {
            Metric::Few { own_squares, .. } => {
                let (mut value, mut image) = ([0.0; EXHAUSTIVE], [0.0; EXHAUSTIVE]);
                let current = self.wanted(block, &mut value[..block.len], &mut image[..block.len]);
                own_squares.best(image, self.largest, current)
            }
            Metric::Many(lower) => {
                let (mut value, mut image) = (vec![0.0; block.len], vec![0.0; block.len]);
                let current = self.wanted(block, &mut value, &mut image);
                block.decoded(lower, image, self.scale(block)).and_then(|it| it.best(self.largest, current))
            }
        };
        let is_better = better.is_some();
        better.into_iter().for_each(|solution| self.set_block(block, solution));
        is_better
    }

    /// A block's `value` and what its image under the block's own covariance should be; yields what a solution must gain
    /// over zeros to be better.
    fn wanted(&self, block: &Block, value: &mut [f32], image: &mut [f32]) -> f32 {
        let (scale, codes) = (self.scale(block), &self.codes[block.columns.clone()]);
        value.iter_mut().zip(codes).for_each(|(value, code)| *value = scale * code);
        let column = |index: usize| &self.problem.hessian.col_as_slice(index)[block.columns.clone()];
        let mut square = 0.0;
        for (at, index) in block.columns.clone().enumerate() {
            let product = if scale == 0.0 { 0.0 } else { dot(column(index), value) };
            square += value[at] * product;
            image[at] = self.gradient[index] + product;
        }
        let current = 2.0 * dot(value, image) - square;
        current + LEAST_GAIN * current.abs()
    }

    /// Changes single codes, then the scale.
    pub(super) fn improve_codes(&mut self, block: &Block) -> bool {
        let mut changed = false;
        let scale = self.scale(block);
        if scale > 0.0 {
            for index in block.columns.clone() {
                let wanted =
                    self.codes[index] + self.gradient[index] / (scale * self.problem.diagonal[index]);
                let code = wanted.clamp(-1.0, 1.0).round();
                if code != self.codes[index] {
                    self.set_code(index, code);
                    changed = true;
                }
            }
        }
        changed | self.fit_scale(block)
    }
}

impl LeastSquares {
    /// Coordinate descent on codes of given steps, each taking its best value while all others are fixed; yields the error
    /// that is left.
    pub(super) fn descend_codes(
        &self,
        target: &[f32],
        steps: &[f32],
        code: impl Fn(f32, f32) -> i8,
        codes: &mut [i8],
    ) -> f32 {
        let errors = |codes: &[i8]| -> Vec<f32> {
            (0..target.len()).map(|index| target[index] - steps[index] * f32::from(codes[index])).collect()
        };
        let mut gradient = times(&self.hessian, &[errors(codes)]).col_as_slice(0).to_vec();
        for _ in 0..ROUNDS {
            let mut changed = false;
            for &index in &self.order {
                let value = steps[index] * f32::from(codes[index]);
                let best = code(value + gradient[index] / self.diagonal[index], steps[index]);
                if best != codes[index] {
                    let step = steps[index] * f32::from(best) - value;
                    axpy(-step, self.hessian.col_as_slice(index), &mut gradient);
                    codes[index] = best;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        dot(&errors(codes), &gradient)
    }
}

impl Block {
    /// Codes for `min (u − sx)ᵀH(u − sx)` with `Hu = image`, for several scales `s`; none if zeros are best.
    fn decoded(&self, lower: &Mat<f32>, mut image: Vec<f32>, scale: f32) -> Option<Trials> {
        for column in 0..self.len {
            let factor = lower.col_as_slice(column);
            let value = image[column] / factor[column];
            image[column] = value;
            axpy(-value, &factor[column + 1..], &mut image[column + 1..]);
        }
        let own = || closed_form_scale(free_solution(lower, &image).into_iter().map(f64::from)) as f32;
        let start = if scale > 0.0 { scale } else { own() };
        (start > 0.0).then(|| Trials::decoded(lower, &image, FACTORS.map(|factor| factor * start)))
    }
}

/// `u` of its image `Lᵀu`.
pub(super) fn free_solution(lower: &Mat<f32>, image: &[f32]) -> Vec<f32> {
    let mut solution = image.to_vec();
    for column in (0..image.len()).rev() {
        let factor = lower.col_as_slice(column);
        let known = dot(&factor[column + 1..], &solution[column + 1..]);
        solution[column] = (solution[column] - known) / factor[column];
    }
    solution
}
