//! The weights nearest to trained ones by least squares, channel by channel, in any precision.

use super::Weights;
use crate::precision::{Levels, Precision, Rounding};
use ndarray::{ArrayView3, ArrayView4, Axis};
use rayon::prelude::*;

/// How far a group's scale is looked for beyond the nearest.
const SCALE_REACH: i32 = 2;
/// Most scales tried for the widest group of a channel: a smaller one leaves the others a coarser choice, but may fit
/// them better.
const WIDEST_TRIED: usize = 7;
/// Most magnitudes for which the best step is found exactly.
const EXACT: usize = 8;
/// Steps tried otherwise, from that which reaches the largest weight down to half of it.
const STEPS: usize = 32;

/// One output channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct NearestChannel {
    /// Plane after plane.
    pub levels: Vec<i8>,
    /// Empty without groups.
    pub scales: Vec<u8>,
    /// Real value of one step.
    pub factor: f64,
    error: f64,
}

/// What is the same for all channels.
struct Nearest {
    precision: Precision,
    /// Input channels of a run.
    inputs: usize,
    rounding: Rounding,
    /// Levels that are not negative.
    magnitudes: Vec<f64>,
}

impl NearestChannel {
    /// The approximation nearest to `values`, which are in runs of `inputs`: the best without groups, near it with them.
    pub fn new(values: &[f64], inputs: usize, precision: Precision) -> Self {
        Nearest::new(inputs, precision).channel(values)
    }
}

/// The approximation nearest to `weights` and the real factor of every channel.
pub(super) fn nearest(weights: ArrayView4<'_, f32>, precision: Precision) -> (Weights, Vec<f64>) {
    let nearest = Nearest::new(weights.dim().1.max(1), precision);
    let channels: Vec<_> = weights.axis_iter(Axis(0)).collect();
    let channel = |channel: ArrayView3<'_, f32>| {
        let stored = channel.permuted_axes([1, 2, 0]);
        nearest.channel(&stored.iter().map(|&weight| f64::from(weight)).collect::<Vec<_>>())
    };
    let channels: Vec<NearestChannel> = channels.into_par_iter().map(channel).collect();
    let parts = channels.iter().map(|channel| (&channel.levels[..], &channel.scales[..]));
    (Weights::of_channels(precision, parts), channels.iter().map(|channel| channel.factor).collect())
}

impl Nearest {
    fn new(inputs: usize, precision: Precision) -> Self {
        let levels: Levels = precision.levels();
        let magnitudes = levels.iter().filter(|level| *level >= 0).map(f64::from).collect();
        Self { precision, inputs, rounding: Rounding::to(levels), magnitudes }
    }

    fn channel(&self, values: &[f64]) -> NearestChannel {
        match self.precision.group() {
            None => self.whole(values),
            Some(group) => self.grouped(values, group),
        }
    }

    /// A channel whose weights share one step.
    fn whole(&self, values: &[f64]) -> NearestChannel {
        let factor = self.best_step(values).unwrap_or(1.0);
        let levels = values.iter().map(|&value| self.rounding.level(value, factor)).collect();
        NearestChannel { levels, scales: Vec::new(), factor, error: self.error(values, factor) }
    }

    /// A channel whose groups have whole multiples of one step.
    fn grouped(&self, values: &[f64], group: usize) -> NearestChannel {
        let steps = self.steps(values, group);
        let largest = steps.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            let planes = self.precision.planes();
            let (levels, scales) = (vec![0; planes * values.len()], vec![0; planes * steps.len()]);
            return NearestChannel { levels, scales, factor: 1.0, error: 0.0 };
        }
        let widest = usize::from(self.precision.plane_scales()[0]);
        let least = (2 * widest).div_ceil(3);
        let tried = (least..=widest).step_by((widest - least) / WIDEST_TRIED + 1);
        // With the last, one step for all groups is among the choices: groups are never worse than none.
        let factors = tried
            .map(|widest| largest / widest as f64)
            .chain(self.best_step(values).map(|step| step / widest as f64));
        factors
            .map(|factor| self.stacked(values, group, factor))
            .min_by(|a, b| a.error.total_cmp(&b.error))
            .unwrap_or_default()
    }

    /// Plane after plane for one factor, each on what the planes before it left.
    fn stacked(&self, values: &[f64], group: usize, factor: f64) -> NearestChannel {
        let mut channel = NearestChannel { factor, ..NearestChannel::default() };
        let mut rest = values.to_vec();
        for largest in self.precision.plane_scales() {
            let steps = self.steps(&rest, group);
            channel.error = 0.0;
            for (values, step) in self.groups_mut(&mut rest, group).zip(steps) {
                let (scale, error) = self.best_scale(values, step, factor, largest);
                channel.error += error;
                channel.scales.push(scale);
                for value in values {
                    let level = self.rounding.level(*value, f64::from(scale) * factor);
                    channel.levels.push(level);
                    *value -= f64::from(level) * f64::from(scale) * factor;
                }
            }
        }
        channel
    }

    fn groups_mut<'v>(&self, values: &'v mut [f64], group: usize) -> impl Iterator<Item = &'v mut [f64]> {
        values.chunks_mut(self.inputs).flat_map(move |run| run.chunks_mut(group))
    }

    /// The best step of every group on its own.
    fn steps(&self, values: &[f64], group: usize) -> Vec<f64> {
        let groups = values.chunks(self.inputs).flat_map(|run| run.chunks(group));
        groups.map(|values| self.best_step(values).unwrap_or(0.0)).collect()
    }

    /// The scale with the least error among the largest and those around `step / factor`.
    fn best_scale(&self, values: &[f64], step: f64, factor: f64, largest: u8) -> (u8, f64) {
        let nearest = ((step / factor).round() as i32).min(i32::from(largest));
        let scales = (nearest - SCALE_REACH..=nearest + SCALE_REACH)
            .filter_map(|scale| u8::try_from(scale).ok())
            .filter(|scale| *scale < largest)
            .chain([largest]);
        let errors = scales.map(|scale| (scale, self.error(values, f64::from(scale) * factor)));
        errors.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    }

    fn error(&self, values: &[f64], step: f64) -> f64 {
        values.iter().map(|&value| (value - f64::from(self.rounding.level(value, step)) * step).powi(2)).sum()
    }

    /// The step with the least squared error; `None` if all is zero.
    fn best_step(&self, values: &[f64]) -> Option<f64> {
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let levels = self.magnitudes.last().copied().filter(|_| largest > 0.0)?;
        let reaching = largest / levels;
        match self.magnitudes.len() {
            ..=EXACT => exact_step(values, &self.magnitudes),
            // So many levels that cutting off the largest weights gains nothing.
            128 => Some(reaching),
            _ => {
                let tried = (0..STEPS).map(|at| reaching * (1.0 - 0.5 * at as f64 / STEPS as f64));
                tried
                    .map(|step| (step, self.error(values, step)))
                    .min_by(|a, b| a.1.total_cmp(&b.1))
                    .map(|best| best.0)
            }
        }
    }
}

/// For given levels the best step leaves `Σ v² − (Σ v·l)² / Σ l²`. As the step falls, one magnitude after another gets the
/// next level: where `|v|` is in the middle between both. The best levels are among those on the way.
fn exact_step(values: &[f64], levels: &[f64]) -> Option<f64> {
    let magnitudes = values.iter().map(|value| value.abs()).filter(|magnitude| *magnitude > 0.0);
    let rises = |magnitude: f64| levels.windows(2).map(move |pair| (magnitude, pair[0], pair[1]));
    let mut rises: Vec<(f64, f64, f64)> = magnitudes.flat_map(rises).collect();
    let step = |&(magnitude, from, to): &(f64, f64, f64)| magnitude / (from + (to - from) / 2.0);
    rises.sort_unstable_by(|a, b| step(b).total_cmp(&step(a)));
    let (mut cross, mut square, mut gain, mut best) = (0.0, 0.0, 0.0, None);
    for (magnitude, from, to) in rises {
        cross += magnitude * (to - from);
        square += to * to - from * from;
        if cross * cross / square > gain {
            gain = cross * cross / square;
            best = Some(cross / square);
        }
    }
    best
}

#[cfg(test)]
mod tests;
