//! Coordinate descent on codes and scales with the whole covariance: block by block, then column by column.

use super::state::State;
use super::{Block, LeastSquares, closed_form_scale};
use crate::layerwise::vector::{axpy, dot, times};

/// Rounds at most.
const ROUNDS: usize = 10;
/// Scales tried when a block is decoded, relative to the one it has.
const FACTORS: [f64; 7] = [0.75, 0.85, 0.93, 1.0, 1.08, 1.2, 1.35];
/// A change must gain this much, relative to what there is, so that rounding errors are no gain.
const LEAST_GAIN: f64 = 1e-9;

impl State<'_> {
    /// Coordinate descent on codes and scales with the whole covariance.
    pub(super) fn descend(&mut self) {
        for _ in 0..ROUNDS {
            let mut changed = false;
            for block in &self.problem.blocks {
                changed |= self.resolve_block(block);
                changed |= self.improve_codes(block);
            }
            if !changed {
                break;
            }
        }
        self.problem.blocks.iter().for_each(|block| self.tidy(block));
    }

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
        let (scale, codes) = (self.scale(block), &self.codes[block.columns.clone()]);
        let value: Vec<f64> = codes.iter().map(|code| scale * code).collect();
        let image = self.problem.times_within(block, &value);
        let wanted: Vec<f64> =
            self.gradient[block.columns.clone()].iter().zip(&image).map(|(slope, hv)| slope + hv).collect();
        let current = 2.0 * dot(&value, &wanted) - dot(&value, &image);
        let mut best =
            Candidate { gain: current + LEAST_GAIN * current.abs(), signs: Vec::new(), scale: 0.0 };
        if block.patterns.is_empty() {
            block.each_decoding(&wanted, scale, |signs| {
                let real: Vec<f64> = signs.iter().map(|&sign| f64::from(sign)).collect();
                let square = dot(&real, &self.problem.times_within(block, &real));
                best.offer(&signs, square, &wanted, self.largest);
            });
        } else {
            let patterns = block.patterns.iter();
            patterns
                .for_each(|pattern| best.offer(&pattern.signs, pattern.own_square, &wanted, self.largest));
        }
        if !best.signs.is_empty() {
            self.set_block(block, &best.signs, best.scale);
        }
        !best.signs.is_empty()
    }

    /// Changes single codes, then the scale.
    pub(super) fn improve_codes(&mut self, block: &Block) -> bool {
        let mut changed = false;
        let scale = self.scale(block);
        if scale > 0.0 {
            for index in block.columns.clone() {
                let wanted = scale * self.codes[index] + self.gradient[index] / self.problem.diagonal[index];
                let code = (wanted / scale).round().clamp(-1.0, 1.0);
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
    /// Coordinate descent on codes of given steps, each taking its best value while all others are fixed.
    pub(super) fn descend_codes(
        &self,
        target: &[f64],
        steps: &[f64],
        code: impl Fn(f64, f64) -> i8,
        codes: &mut [i8],
    ) {
        let error = |index: usize| target[index] - steps[index] * f64::from(codes[index]);
        let errors: Vec<f64> = (0..target.len()).map(error).collect();
        let mut gradient = times(&self.hessian, &[errors]).col_as_slice(0).to_vec();
        for _ in 0..ROUNDS {
            let mut changed = false;
            for &index in &self.order {
                let value = steps[index] * f64::from(codes[index]);
                let best = code(value + gradient[index] / self.diagonal[index], steps[index]);
                if best != codes[index] {
                    let step = steps[index] * f64::from(best) - value;
                    axpy(-step, self.hessian.col_as_slice(index), &mut gradient);
                    codes[index] = best;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// `H values` within one block.
    fn times_within(&self, block: &Block, values: &[f64]) -> Vec<f64> {
        let column = |index: usize| &self.hessian.col_as_slice(index)[block.columns.clone()];
        block.columns.clone().map(|index| dot(column(index), values)).collect()
    }
}

struct Candidate {
    gain: f64,
    signs: Vec<i8>,
    scale: f64,
}

impl Candidate {
    /// Takes `signs` with their best scale up to `largest` if that is better: `2 xᵀb − xᵀHx` is what `x` gains over zero. `square`
    /// is `xᵀHx` of the signs.
    fn offer(&mut self, signs: &[i8], square: f64, wanted: &[f64], largest: f64) {
        let product: f64 = signs.iter().zip(wanted).map(|(&sign, wanted)| f64::from(sign) * wanted).sum();
        // No scale, rounded or not, gains more than `product² / square`.
        if product <= 0.0 || product * product < self.gain * square {
            return;
        }
        let scale = (product / square).round().clamp(0.0, largest);
        let gain = scale * (2.0 * product - scale * square);
        if gain > self.gain {
            *self = Self { gain, signs: signs.to_vec(), scale };
        }
    }
}

impl Block {
    /// Codes for `min (u − sx)ᵀH(u − sx)` with `Hu = wanted`, for several scales `s`: from the last column to the
    /// first, each rounded given those after it (Babai, Combinatorica 6, 1986).
    fn each_decoding(&self, wanted: &[f64], scale: f64, mut visit: impl FnMut(Vec<i8>)) {
        let mut image = wanted.to_vec();
        for column in 0..self.len {
            let lower = self.inner.col_as_slice(column);
            image[column] /= lower[column];
            let value = image[column];
            image[column + 1..].iter_mut().zip(&lower[column + 1..]).for_each(|(rest, l)| *rest -= value * l);
        }
        let start = if scale > 0.0 { scale } else { closed_form_scale(&self.free_solution(&image)) };
        if start <= 0.0 {
            return;
        }
        for factor in FACTORS {
            visit(self.decode(&image, start * factor));
        }
    }

    /// `u` of its image `Lᵀu`.
    pub(super) fn free_solution(&self, image: &[f64]) -> Vec<f64> {
        let mut solution = image.to_vec();
        for column in (0..self.len).rev() {
            let lower = self.inner.col_as_slice(column);
            let known = dot(&lower[column + 1..], &solution[column + 1..]);
            solution[column] = (solution[column] - known) / lower[column];
        }
        solution
    }

    pub(super) fn decode(&self, image: &[f64], scale: f64) -> Vec<i8> {
        let mut signs = vec![0.0; self.len];
        for column in (0..self.len).rev() {
            let lower = self.inner.col_as_slice(column);
            let rest = image[column] / scale - dot(&lower[column + 1..], &signs[column + 1..]);
            signs[column] = (rest / lower[column]).round().clamp(-1.0, 1.0);
        }
        signs.into_iter().map(|sign| sign as i8).collect()
    }
}
