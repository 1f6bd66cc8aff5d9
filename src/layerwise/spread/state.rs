//! A row under change.

use super::{Block, BlockSolution, ChannelSolution, LeastSquares};
use crate::layerwise::vector::{axpy, dot};

/// Codes and scales of one output channel, and what they leave of the error.
#[derive(Debug, Clone)]
pub(super) struct State<'a> {
    pub problem: &'a LeastSquares,
    pub codes: Vec<f32>,
    /// Scale of each weight.
    pub scales: Vec<f32>,
    /// `H (target − value)`.
    pub gradient: Vec<f32>,
    /// `(target − value)ᵀ H (target − value)`.
    pub error: f64,
    /// No scale is larger.
    pub largest: f32,
}

impl<'a> State<'a> {
    /// `errors` is `target − value`, `gradient` H times that.
    pub fn new(
        problem: &'a LeastSquares,
        row: &ChannelSolution,
        errors: &[f32],
        gradient: Vec<f32>,
        largest: f32,
    ) -> Self {
        let mut scales = vec![0.0; errors.len()];
        for block in &problem.blocks {
            scales[block.columns.clone()].fill(f32::from(row.scales[block.id]));
        }
        let codes = row.codes.iter().map(|&code| f32::from(code)).collect();
        let error =
            errors.iter().zip(&gradient).map(|(error, slope)| f64::from(*error) * f64::from(*slope)).sum();
        Self { problem, codes, scales, error, gradient, largest }
    }

    pub fn row(&self) -> ChannelSolution {
        let mut scales = vec![0; self.problem.blocks.len()];
        for block in &self.problem.blocks {
            scales[block.id] = self.scale(block) as u8;
        }
        ChannelSolution { codes: self.codes.iter().map(|&code| code as i8).collect(), scales }
    }

    /// Becomes another state of the same row.
    pub fn copy(&mut self, other: &Self) {
        self.codes.copy_from_slice(&other.codes);
        self.scales.copy_from_slice(&other.scales);
        self.gradient.copy_from_slice(&other.gradient);
        self.error = other.error;
    }

    pub fn scale(&self, block: &Block) -> f32 {
        self.scales[block.columns.start]
    }

    pub fn set_code(&mut self, index: usize, code: f32) {
        let step = (code - self.codes[index]) * self.scales[index];
        self.codes[index] = code;
        self.shift(index, step);
    }

    pub fn set_scale(&mut self, block: &Block, scale: f32) {
        for index in block.columns.clone() {
            let step = (scale - self.scales[index]) * self.codes[index];
            self.scales[index] = scale;
            self.shift(index, step);
        }
    }

    /// Codes and scale of a block.
    pub fn set_block(&mut self, block: &Block, BlockSolution { signs, scale }: BlockSolution) {
        for (index, sign) in block.columns.clone().zip(signs) {
            let step = sign * scale - self.codes[index] * self.scales[index];
            self.codes[index] = sign;
            self.scales[index] = scale;
            self.shift(index, step);
        }
    }

    /// Adds `step` to the value of one weight.
    fn shift(&mut self, index: usize, step: f32) {
        if step != 0.0 {
            let [diagonal, slope] = [self.problem.diagonal[index], self.gradient[index]].map(f64::from);
            self.error += f64::from(step) * (f64::from(step) * diagonal - 2.0 * slope);
            axpy(-step, self.problem.hessian.col_as_slice(index), &mut self.gradient);
        }
    }

    /// Gives a block its best scale, all else fixed, unless all its codes are zero; whether that is another one.
    pub fn fit_scale(&mut self, block: &Block) -> bool {
        let codes = &self.codes[block.columns.clone()];
        let slope = dot(codes, &self.gradient[block.columns.clone()]);
        let mut curvature = 0.0;
        for (&code, index) in codes.iter().zip(block.columns.clone()).filter(|(code, _)| **code != 0.0) {
            curvature += code * dot(&self.problem.hessian.col_as_slice(index)[block.columns.clone()], codes);
        }
        if curvature <= 0.0 {
            return false;
        }
        let old = self.scale(block);
        let new = (old + slope / curvature).round().clamp(0.0, self.largest);
        self.set_scale(block, new);
        new != old
    }
}
