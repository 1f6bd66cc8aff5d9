//! Four-bit weights: codes −7 to 7 and one factor per output channel, or also a small scale per group.

use crate::format::{MAX_INT4_CODE, MAX_INT4_SCALE};
use ndarray::{ArrayView3, ArrayView4, Axis};
use rayon::prelude::*;

/// How far a group's scale is looked for beyond the nearest.
const SCALE_REACH: i32 = 2;
/// Largest scales tried for the widest group of a channel: a smaller one leaves the others a coarser choice, but may
/// fit them better.
const WIDEST: std::ops::RangeInclusive<u8> = 12..=MAX_INT4_SCALE;

/// Codes in the order output channel, row, column, input channel; scales by row of groups; a factor per channel.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Int4 {
    pub codes: Vec<i8>,
    /// Empty without groups.
    pub scales: Vec<u8>,
    pub factors: Vec<f64>,
}

/// One output channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Int4Channel {
    pub codes: Vec<i8>,
    /// Empty without groups.
    pub scales: Vec<u8>,
    pub factor: f64,
    error: f64,
}

impl Int4Channel {
    /// The approximation nearest to `values`, which are in runs of `inputs`, by least squares: the best without groups,
    /// near it with them.
    pub fn nearest(values: &[f64], inputs: usize, group: Option<usize>) -> Self {
        match group {
            None => whole(values),
            Some(group) => grouped(values, inputs, group.max(1)),
        }
    }
}

impl Int4 {
    /// The approximation nearest to `weights`, channel by channel.
    pub fn nearest(weights: ArrayView4<'_, f32>, group: Option<usize>) -> Self {
        let inputs = weights.dim().1.max(1);
        let channels: Vec<_> = weights.axis_iter(Axis(0)).collect();
        let channel = |channel: ArrayView3<'_, f32>| {
            let stored = channel.permuted_axes([1, 2, 0]);
            let values: Vec<f64> = stored.iter().map(|&weight| f64::from(weight)).collect();
            Int4Channel::nearest(&values, inputs, group)
        };
        let channels: Vec<Int4Channel> = channels.into_par_iter().map(channel).collect();
        let mut all = Self::default();
        for channel in channels {
            all.codes.extend(channel.codes);
            all.scales.extend(channel.scales);
            all.factors.push(channel.factor);
        }
        all
    }
}

/// A channel whose weights share one step.
fn whole(values: &[f64]) -> Int4Channel {
    let factor = best_step(values).unwrap_or(1.0);
    let codes = values.iter().map(|&value| code(value, factor)).collect();
    Int4Channel { codes, scales: Vec::new(), factor, error: error(values, factor) }
}

/// A channel whose groups have whole multiples of one step.
fn grouped(values: &[f64], inputs: usize, group: usize) -> Int4Channel {
    let groups: Vec<&[f64]> = values.chunks(inputs).flat_map(|run| run.chunks(group)).collect();
    let steps: Vec<f64> = groups.iter().map(|values| best_step(values).unwrap_or(0.0)).collect();
    let largest = steps.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Int4Channel {
            codes: vec![0; values.len()],
            scales: vec![0; groups.len()],
            factor: 1.0,
            error: 0.0,
        };
    }
    let with = |widest: u8| scaled(&groups, &steps, largest / f64::from(widest));
    WIDEST.map(with).min_by(|a, b| a.error.total_cmp(&b.error)).unwrap_or_default()
}

/// The best scales and codes for one factor.
fn scaled(groups: &[&[f64]], steps: &[f64], factor: f64) -> Int4Channel {
    let mut channel = Int4Channel { factor, ..Int4Channel::default() };
    for (values, step) in groups.iter().zip(steps) {
        let nearest = (step / factor).round() as i32;
        let scales = (nearest - SCALE_REACH..=nearest + SCALE_REACH)
            .filter_map(|scale| u8::try_from(scale).ok())
            .filter(|scale| *scale <= MAX_INT4_SCALE);
        let errors = scales.map(|scale| (scale, error(values, f64::from(scale) * factor)));
        let (scale, error) = errors.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
        channel.error += error;
        channel.codes.extend(values.iter().map(|&value| code(value, f64::from(scale) * factor)));
        channel.scales.push(scale);
    }
    channel
}

/// The code nearest to `value / step`; 0 for a step of zero.
fn code(value: f64, step: f64) -> i8 {
    let largest = f64::from(MAX_INT4_CODE);
    if step > 0.0 { (value / step).round().clamp(-largest, largest) as i8 } else { 0 }
}

fn error(values: &[f64], step: f64) -> f64 {
    values.iter().map(|&value| (value - f64::from(code(value, step)) * step).powi(2)).sum()
}

/// The step with the least squared error; `None` if all is zero.
///
/// For given codes the best step leaves `Σ v² − (Σ v·c)² / Σ c²`. As the step falls, one magnitude after another gets the
/// next code: where `|v| = (c + ½)·step`. The best codes are among those on the way.
fn best_step(values: &[f64]) -> Option<f64> {
    let magnitudes = values.iter().map(|value| value.abs()).filter(|magnitude| *magnitude > 0.0);
    let rises = |magnitude: f64| (0..MAX_INT4_CODE).map(move |code| (magnitude, f64::from(code)));
    let mut rises: Vec<(f64, f64)> = magnitudes.flat_map(rises).collect();
    rises.sort_unstable_by(|a, b| (b.0 / (b.1 + 0.5)).total_cmp(&(a.0 / (a.1 + 0.5))));
    let (mut cross, mut square, mut gain, mut best) = (0.0, 0.0, 0.0, None);
    for (magnitude, code) in rises {
        cross += magnitude;
        square += 2.0 * code + 1.0;
        if cross * cross / square > gain {
            gain = cross * cross / square;
            best = Some(cross / square);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;
    use proptest::prelude::*;

    fn dequantized(int4: &Int4, inputs: usize, group: Option<usize>) -> Vec<f64> {
        let groups = group.map_or(1, |group| inputs.div_ceil(group));
        let per_channel = int4.codes.len() / int4.factors.len();
        let value = |(index, &code): (usize, &i8)| {
            let scale = group.map_or(1, |group| {
                let (run, input) = (index / inputs, index % inputs);
                int4.scales[run * groups + input / group]
            });
            f64::from(code) * f64::from(scale) * int4.factors[index / per_channel]
        };
        int4.codes.iter().enumerate().map(value).collect()
    }

    fn squares(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    }

    proptest! {
        #[test]
        fn one_step_is_the_best(values in prop::collection::vec(-2.0f32..2.0, 1..24)) {
            let weights = Array4::from_shape_vec((1, values.len(), 1, 1), values.clone()).unwrap();
            let int4 = Int4::nearest(weights.view(), None);
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let found = squares(&values, &dequantized(&int4, values.len(), None));
            let largest = values.iter().fold(0.0f64, |l, v| l.max(v.abs()));
            let many = (1..=6000).map(|at| error(&values, largest * at as f64 / 3000.0));
            let best = many.fold(f64::INFINITY, f64::min);
            prop_assert!(found <= best + 1e-9, "{} against {}", found, best);
        }

        #[test]
        fn codes_and_scales_are_valid_and_groups_do_not_harm_much(
            values in prop::collection::vec(-2.0f32..2.0, 48),
            group in 1usize..10,
        ) {
            let weights = Array4::from_shape_vec((2, 6, 2, 2), values).unwrap();
            let (one, many) = (Int4::nearest(weights.view(), None), Int4::nearest(weights.view(), Some(group)));
            prop_assert!(one.scales.is_empty() && many.scales.len() == 8 * 6usize.div_ceil(group));
            prop_assert!(one.codes.iter().chain(&many.codes).all(|code| (-7..=7).contains(code)));
            prop_assert!(many.scales.iter().all(|scale| *scale <= 18));
            let stored: Vec<f64> =
                weights.view().permuted_axes([0, 2, 3, 1]).iter().map(|&w| f64::from(w)).collect();
            let error = |int4: &Int4, group| squares(&stored, &dequantized(int4, 6, group));
            prop_assert!(error(&many, Some(group)) <= 1.1 * error(&one, None) + 1e-9);
        }
    }

    #[test]
    fn expected_error_of_gaussian_weights() {
        // Max, Quantizing for minimum distortion, 1960, table II: 14 levels leave 0.0146 of the variance, 16 leave 0.01154.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        let mut gauss = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let values: Vec<f64> = (0..20_000).map(|_| gauss()).collect();
        let relative = whole(&values).error / values.iter().map(|value| value * value).sum::<f64>();
        assert!((0.0115..0.0146).contains(&relative), "{relative}");
    }

    #[test]
    fn zeros_and_subnormals() {
        for value in [0.0f32, 1e-45, f32::MAX] {
            for group in [None, Some(2)] {
                let int4 = Int4::nearest(Array4::from_elem((2, 3, 1, 1), value).view(), group);
                let back = dequantized(&int4, 3, group);
                assert!(
                    back.iter().all(|b| (b - f64::from(value)).abs() <= 0.01 * f64::from(value)),
                    "{back:?}"
                );
            }
        }
    }
}
