//! All sign patterns of up to four weights with their best whole scale, tried at once.

use super::{BlockSolution, whole};
use crate::wide::Width;

/// Largest group whose sign patterns are all tried.
pub(super) const EXHAUSTIVE: usize = 4;
/// Patterns but for their signs, in whole registers.
const COUNT: usize = 48;
/// Of a pattern that is none: it never gains.
const NONE: f32 = 1e30;

/// Half of the patterns, weight by weight; the others are their negatives. Those of fewer weights come first.
static SIGNS: [[f32; COUNT]; EXHAUSTIVE] = signs();

const fn signs() -> [[f32; COUNT]; EXHAUSTIVE] {
    let mut signs = [[0.0; COUNT]; EXHAUSTIVE];
    let (mut place, mut number) = (0, 1);
    while number < 81 {
        let digits = [number % 3, number / 3 % 3, number / 9 % 3, number / 27];
        let leading = if digits[3] != 0 {
            digits[3]
        } else if digits[2] != 0 {
            digits[2]
        } else {
            digits[1]
        };
        let leading = if leading != 0 { leading } else { digits[0] };
        let mut weight = 0;
        while leading == 1 && weight < EXHAUSTIVE {
            signs[weight][place] = [0.0, 1.0, -1.0][digits[weight]];
            weight += 1;
        }
        place += (leading == 1) as usize;
        number += 1;
    }
    signs
}

/// The squares `tᵀMt` of all patterns t under a metric M.
#[derive(Debug)]
pub(super) struct Squares([f32; COUNT]);

impl Squares {
    /// Of the first `len` weights under a symmetric metric.
    pub fn new(len: usize, metric: impl Fn(usize, usize) -> f64) -> Self {
        let square = |place: usize| {
            let sign = |weight: usize| f64::from(SIGNS[weight][place]);
            let used =
                |weights: std::ops::Range<usize>| weights.into_iter().any(|weight| sign(weight) != 0.0);
            if used(len..EXHAUSTIVE) || !used(0..len) {
                return NONE;
            }
            let pairs = (0..len).flat_map(|i| (0..len).map(move |j| (i, j)));
            pairs.map(|(i, j)| sign(i) * sign(j) * metric(i, j)).sum::<f64>() as f32
        };
        Self(std::array::from_fn(square))
    }

    /// The pattern t and whole scale s up to `largest` that gain most, `s(2tᵀb − s·tᵀMt)` with the `wanted` b, if that is
    /// more than `least`.
    pub fn best(&self, wanted: [f32; EXHAUSTIVE], largest: f32, least: f32) -> Option<BlockSolution> {
        let (products, scales, gains) = Width::widest().run(
            #[inline(always)]
            || self.gains(wanted, largest),
        );
        let most = gains.iter().copied().fold(least, f32::max);
        let place = gains.iter().position(|&gain| gain == most && gain > least)?;
        let turn = products[place].signum();
        Some(BlockSolution { signs: SIGNS.map(|signs| turn * signs[place]).to_vec(), scale: scales[place] })
    }

    #[inline(always)]
    fn gains(&self, wanted: [f32; EXHAUSTIVE], largest: f32) -> ([f32; COUNT], [f32; COUNT], [f32; COUNT]) {
        let (mut products, mut scales, mut gains) = ([0.0; COUNT], [0.0; COUNT], [0.0; COUNT]);
        for place in 0..COUNT {
            let mut product = 0.0;
            for (signs, wanted) in SIGNS.iter().zip(wanted) {
                product += signs[place] * wanted;
            }
            let (size, square) = (product.abs(), self.0[place]);
            let scale = whole((size / square).min(largest));
            products[place] = product;
            scales[place] = scale;
            gains[place] = scale * (2.0 * size - scale * square);
        }
        (products, scales, gains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::noise;

    #[test]
    fn patterns_and_their_negatives_are_all_there_are() {
        let mut all: Vec<[i32; 4]> = (0..40)
            .flat_map(|place| [1, -1].map(|turn| SIGNS.map(|signs| turn * signs[place] as i32)))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 80);
        assert!((40..COUNT).all(|place| SIGNS.iter().all(|signs| signs[place] == 0.0)));
    }

    #[test]
    fn the_best_pattern_and_scale_are_found() {
        for (len, seed) in (1..=4).flat_map(|len| (0..40).map(move |seed| (len, seed))) {
            let (root, values) = (noise(16, seed), noise(4, seed + 100));
            let metric = |i: usize, j: usize| {
                let sum: f32 = (0..4).map(|k| root[4 * i + k] * root[4 * j + k]).sum();
                f64::from(sum + if i == j { 0.1 } else { 0.0 })
            };
            let wanted: [f32; 4] = std::array::from_fn(|at| if at < len { 20.0 * values[at] } else { 0.0 });
            let gain = |signs: &[f32], scale: f32| {
                let product: f32 = signs.iter().zip(wanted).map(|(sign, wanted)| sign * wanted).sum();
                let pairs = (0..len).flat_map(|i| (0..len).map(move |j| (i, j)));
                let square: f64 = pairs.map(|(i, j)| f64::from(signs[i] * signs[j]) * metric(i, j)).sum();
                f64::from(scale * 2.0 * product) - f64::from(scale * scale) * square
            };
            let mut most = 0.0_f64;
            for number in 0..3usize.pow(len as u32) {
                let signs: Vec<f32> =
                    (0..len).map(|at| (number / 3usize.pow(at as u32) % 3) as f32 - 1.0).collect();
                (0..=15).for_each(|scale| most = most.max(gain(&signs, scale as f32)));
            }
            let best = Squares::new(len, metric).best(wanted, 15.0, 0.0);
            let ours = best.map_or(0.0, |best| gain(&best.signs[..len], best.scale));
            assert!(ours >= most * (1.0 - 1e-5), "{len} weights: {ours}, best {most}");
        }
    }
}
