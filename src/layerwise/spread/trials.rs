//! Several scales for one group of many weights, tried side by side.

use super::{BlockSolution, whole};
use crate::wide::Width;
use faer::Mat;

/// Scales that are tried at once.
pub(super) const LANES: usize = 8;

type Lanes = [f32; LANES];

/// Signs found for each of the scales, with their products and squares in the group's metric.
#[derive(Debug)]
pub(super) struct Trials {
    signs: Vec<Lanes>,
    /// `tᵀb` for each scale's signs t, b being what is wanted.
    products: Lanes,
    /// `tᵀMt`.
    squares: Lanes,
}

impl Trials {
    /// Signs for `min (u − sx)ᵀH(u − sx)` for several scales s, given `image = Lᵀu` and the lower factor L of H: from the
    /// last column to the first, each rounded given those after it (Babai, Combinatorica 6, 1986).
    pub fn decoded(lower: &Mat<f32>, image: &[f32], scales: Lanes) -> Self {
        let mut trials = Self::none(image.len());
        Width::widest().run(
            #[inline(always)]
            || trials.decode(lower, image, scales.map(f32::recip)),
        );
        trials
    }

    /// Signs for weights that are rounded one after another, the errors moved to those that are still free. `column` yields
    /// the part of the inverse's factor from the diagonal down.
    pub fn spread<'a>(weights: &[f32], scales: Lanes, column: impl Fn(usize) -> &'a [f32]) -> Self {
        let mut trials = Self::none(weights.len());
        Width::widest().run(
            #[inline(always)]
            || trials.round(weights, scales, column),
        );
        trials
    }

    fn none(len: usize) -> Self {
        Self { signs: vec![[0.0; LANES]; len], products: [0.0; LANES], squares: [0.0; LANES] }
    }

    #[inline(always)]
    fn decode(&mut self, lower: &Mat<f32>, image: &[f32], per_scale: Lanes) {
        for column in (0..image.len()).rev() {
            let factor = lower.col_as_slice(column);
            let mut known = [0.0; LANES];
            for (signs, factor) in self.signs[column + 1..].iter().zip(&factor[column + 1..]) {
                for lane in 0..LANES {
                    known[lane] += factor * signs[lane];
                }
            }
            let (diagonal, wanted) = (factor[column], image[column]);
            for lane in 0..LANES {
                let sign = nearest((wanted * per_scale[lane] - known[lane]) / diagonal);
                self.take(column, lane, sign, known[lane] + diagonal * sign, wanted);
            }
        }
    }

    #[inline(always)]
    fn round<'a>(&mut self, weights: &[f32], scales: Lanes, column: impl Fn(usize) -> &'a [f32]) {
        let mut rest: Vec<Lanes> = weights.iter().map(|&weight| [weight; LANES]).collect();
        let mut free = weights.to_vec();
        for index in 0..weights.len() {
            let factor = column(index);
            let wanted = free[index] / factor[0];
            free[index + 1..]
                .iter_mut()
                .zip(&factor[1..])
                .for_each(|(free, factor)| *free -= wanted * factor);
            let mut errors = [0.0; LANES];
            for lane in 0..LANES {
                let sign = nearest(rest[index][lane] / scales[lane]);
                errors[lane] = (rest[index][lane] - scales[lane] * sign) / factor[0];
                self.take(index, lane, sign, (wanted - errors[lane]) / scales[lane], wanted);
            }
            for (rest, factor) in rest[index + 1..].iter_mut().zip(&factor[1..]) {
                for lane in 0..LANES {
                    rest[lane] -= errors[lane] * factor;
                }
            }
        }
    }

    /// One sign; `part` and `wanted` are the coordinates of the signs and of what is wanted in the metric.
    #[inline(always)]
    fn take(&mut self, index: usize, lane: usize, sign: f32, part: f32, wanted: f32) {
        self.signs[index][lane] = sign;
        self.products[lane] += part * wanted;
        self.squares[lane] += part * part;
    }

    /// The signs and their best whole scale up to `largest` that gain most, if that is more than `least`.
    pub fn best(&self, largest: f32, least: f32) -> Option<BlockSolution> {
        let mut best = (least, None);
        for lane in 0..LANES {
            let (product, square) = (self.products[lane], self.squares[lane]);
            let scale = if square > 0.0 { (product / square).round().clamp(0.0, largest) } else { 0.0 };
            let gain = scale * (2.0 * product - scale * square);
            if gain > best.0 {
                best = (gain, Some((lane, scale)));
            }
        }
        best.1.map(|(lane, scale)| BlockSolution {
            signs: self.signs.iter().map(|signs| signs[lane]).collect(),
            scale,
        })
    }

    #[cfg(test)]
    pub fn signs(&self, lane: usize) -> Vec<f32> {
        self.signs.iter().map(|signs| signs[lane]).collect()
    }
}

#[inline(always)]
fn nearest(value: f32) -> f32 {
    whole(value.clamp(-1.0, 1.0))
}
