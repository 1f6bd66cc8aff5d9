//! Coordinate descent on codes and scales with the whole covariance: block by block, then column by column.

use super::{Block, Problem, Row, closed_form_scale, dot};
use faer::Mat;

/// Rounds at most.
const ROUNDS: usize = 10;
/// Scales tried when a block is decoded, relative to the one it has.
const FACTORS: [f64; 7] = [0.75, 0.85, 0.93, 1.0, 1.08, 1.2, 1.35];
/// A change must gain this much, relative to what there is, so that rounding errors are no gain.
const LEAST_GAIN: f64 = 1e-9;

impl Problem {
    /// Coordinate descent on codes and scales with the whole covariance.
    pub(super) fn descend(&self, target: &[f64], row: &mut Row) {
        let group_of = self.groups_by_index();
        let mut gradient = self.gradient(target, row, &group_of);
        for _ in 0..ROUNDS {
            let mut changed = false;
            for block in &self.blocks {
                changed |= self.resolve_block(block, row, &mut gradient);
                changed |= self.improve_codes(block, row, &mut gradient);
            }
            if !changed {
                break;
            }
        }
        self.blocks.iter().for_each(|block| self.settle(block, row));
    }

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
        let mut gradient = self.times(&errors);
        for _ in 0..ROUNDS {
            let mut changed = false;
            for &index in &self.order {
                let value = steps[index] * f64::from(codes[index]);
                let best = code(value + gradient[index] / self.hessian[(index, index)], steps[index]);
                if best != codes[index] {
                    axpy(
                        value - steps[index] * f64::from(best),
                        self.hessian.col_as_slice(index),
                        &mut gradient,
                    );
                    codes[index] = best;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// A group of zeros is one in codes and in its scale.
    fn settle(&self, block: &Block, row: &mut Row) {
        let columns = self.columns(block);
        if row.scales[block.id] == 0 {
            columns.iter().for_each(|&index| row.codes[index] = 0);
        } else if columns.iter().all(|&index| row.codes[index] == 0) {
            row.scales[block.id] = 0;
        }
    }

    pub(super) fn groups_by_index(&self) -> Vec<usize> {
        let mut group_of = vec![0; self.order.len()];
        for block in &self.blocks {
            self.order[block.start..][..block.len].iter().for_each(|&index| group_of[index] = block.id);
        }
        group_of
    }

    /// `H (target − value)`.
    pub(super) fn gradient(&self, target: &[f64], row: &Row, group_of: &[usize]) -> Vec<f64> {
        let errors =
            target.iter().enumerate().map(|(index, wanted)| wanted - row.value(index, group_of[index]));
        self.times(&errors.collect::<Vec<_>>())
    }

    fn times(&self, values: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; values.len()];
        let columns = values.iter().enumerate();
        columns.for_each(|(index, &value)| axpy(value, self.hessian.col_as_slice(index), &mut product));
        product
    }

    /// Solves one block anew, all others fixed, and takes the solution if it is better.
    fn resolve_block(&self, block: &Block, row: &mut Row, gradient: &mut [f64]) -> bool {
        let columns = self.columns(block);
        let local = Local { hessian: &self.hessian, columns };
        let scale = f64::from(row.scales[block.id]);
        let value: Vec<f64> = columns.iter().map(|&index| scale * f64::from(row.codes[index])).collect();
        let image = local.times(&value);
        let wanted: Vec<f64> = columns.iter().zip(&image).map(|(&index, hv)| gradient[index] + hv).collect();
        let current = 2.0 * dot(&value, &wanted) - dot(&value, &image);
        let mut best = Candidate { gain: current + LEAST_GAIN * current.abs(), signs: Vec::new(), scale: 0 };
        if block.patterns.is_empty() {
            block.each_decoding(&wanted, scale, |signs| local.offer(&signs, &wanted, &mut best));
        } else {
            block.patterns.iter().for_each(|pattern| local.offer(&pattern.signs, &wanted, &mut best));
        }
        if best.signs.is_empty() {
            return false;
        }
        row.scales[block.id] = best.scale;
        for ((&index, &sign), old) in columns.iter().zip(&best.signs).zip(&value) {
            axpy(old - f64::from(sign) * f64::from(best.scale), self.hessian.col_as_slice(index), gradient);
            row.codes[index] = sign;
        }
        true
    }

    /// Changes single codes, then the scale.
    pub(super) fn improve_codes(&self, block: &Block, row: &mut Row, gradient: &mut [f64]) -> bool {
        let columns = self.columns(block);
        let mut changed = false;
        if row.scales[block.id] > 0 {
            for &index in columns {
                let scale = f64::from(row.scales[block.id]);
                let value = scale * f64::from(row.codes[index]);
                let wanted = value + gradient[index] / self.hessian[(index, index)];
                let code = (wanted / scale).round().clamp(-1.0, 1.0) as i8;
                if code != row.codes[index] {
                    let step = scale * f64::from(code - row.codes[index]);
                    row.codes[index] = code;
                    axpy(-step, self.hessian.col_as_slice(index), gradient);
                    changed = true;
                }
            }
        }
        changed | self.improve_scale(block, columns, row, gradient)
    }

    fn improve_scale(&self, block: &Block, columns: &[usize], row: &mut Row, gradient: &mut [f64]) -> bool {
        let old = row.scales[block.id];
        let code = |index: usize| f64::from(row.codes[index]);
        let Some(new) = self.best_scale(columns, f64::from(old), code, gradient) else { return false };
        let new = new as u8;
        if new == old {
            return false;
        }
        for &index in columns {
            let step = (f64::from(new) - f64::from(old)) * f64::from(row.codes[index]);
            axpy(-step, self.hessian.col_as_slice(index), gradient);
        }
        row.scales[block.id] = new;
        true
    }

    /// The best 8-bit scale instead of `old` for the codes of a block, all else fixed; none if all codes are zero.
    pub(super) fn best_scale(
        &self,
        columns: &[usize],
        old: f64,
        code: impl Fn(usize) -> f64,
        gradient: &[f64],
    ) -> Option<f64> {
        let (mut slope, mut curvature) = (0.0, 0.0);
        for &i in columns.iter().filter(|&&i| code(i) != 0.0) {
            let column = self.hessian.col_as_slice(i);
            slope += code(i) * gradient[i];
            curvature += columns.iter().map(|&j| code(i) * code(j) * column[j]).sum::<f64>();
        }
        (curvature > 0.0).then(|| (old + slope / curvature).round().clamp(0.0, 127.0))
    }
}

/// The covariance within one block.
struct Local<'a> {
    hessian: &'a Mat<f64>,
    columns: &'a [usize],
}

struct Candidate {
    gain: f64,
    signs: Vec<i8>,
    scale: u8,
}

impl Local<'_> {
    fn times(&self, values: &[f64]) -> Vec<f64> {
        let row = |&i: &usize| {
            let column = self.hessian.col_as_slice(i);
            self.columns.iter().zip(values).map(|(&j, value)| column[j] * value).sum()
        };
        self.columns.iter().map(row).collect()
    }

    /// Takes `signs` with their best 8-bit scale if that is better: `2 xᵀb − xᵀHx` is what `x` gains over zero.
    fn offer(&self, signs: &[i8], wanted: &[f64], best: &mut Candidate) {
        let real: Vec<f64> = signs.iter().map(|&sign| f64::from(sign)).collect();
        let product = dot(&real, wanted);
        if product <= 0.0 {
            return;
        }
        let square = dot(&real, &self.times(&real));
        let scale = (product / square).round().clamp(0.0, 127.0);
        let gain = scale * (2.0 * product - scale * square);
        if gain > best.gain {
            *best = Candidate { gain, signs: signs.to_vec(), scale: scale as u8 };
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

pub(super) fn axpy(factor: f64, column: &[f64], target: &mut [f64]) {
    if factor != 0.0 {
        target.iter_mut().zip(column).for_each(|(value, x)| *value += factor * x);
    }
}
