//! Weights behind codes: real numbers that training moves and that are rounded to levels and scales.

use crate::precision::{Arrangement, Precision, Rounding};
use crate::quantize::{QuantizedConv, Weights};

/// How far inside its interval a weight starts that rounding alone would give another level, in steps between levels.
const MARGIN: f32 = 0.05;

/// Where a latent weight may start that is rounded to `level`, the outermost ones up to half a step beyond.
pub(super) fn start_interval(level: f32, largest: f32) -> [f32; 2] {
    let (reach, beyond) = (0.5 - MARGIN, largest + 0.5);
    let low = if level <= -largest { -beyond } else { level - reach };
    let high = if level >= largest { beyond } else { level + reach };
    [low, high]
}

/// The weights of a convolution in training: `factor · Σ round(scale) · level(latent)`.
#[derive(Debug, Clone)]
pub(in crate::train) struct WeightQuantizer {
    precision: Precision,
    arrangement: Arrangement,
    rounding: Rounding,
    /// The largest level.
    largest: f32,
    /// The largest scale in each plane.
    most: Vec<u8>,
    /// In units of a group's scale, in the order of [`Weights::levels`].
    pub latent: Vec<f32>,
    /// Scales of groups before rounding, in the order of [`Weights::scales`].
    pub scales: Vec<f32>,
    /// Real value of one weight step, per output channel.
    factors: Vec<f32>,
}

impl WeightQuantizer {
    /// Starts at a fitted convolution's codes. Where trained weights (in storage order, in units of the real weights)
    /// would be rounded to the same levels they are where the weights start.
    pub(in crate::train) fn new(conv: &QuantizedConv, trained: &[f32]) -> Self {
        let arrangement = conv.arrangement();
        let Weights { precision, levels, scales } = &conv.weights;
        let factors = conv.factors.iter().map(|&factor| factor as f32).collect();
        let mut own = Self {
            precision: *precision,
            arrangement,
            rounding: Rounding::to(precision.levels()),
            largest: f32::from(precision.levels().largest()),
            most: precision.plane_scales(),
            latent: levels.iter().map(|&level| f32::from(level)).collect(),
            scales: scales.iter().map(|&scale| f32::from(scale)).collect(),
            factors,
        };
        if precision.planes() == 1 {
            own.lean_towards(trained);
        }
        own
    }

    fn lean_towards(&mut self, trained: &[f32]) {
        let largest = self.largest;
        let steps = self.steps();
        for ((latent, step), trained) in self.latent.iter_mut().zip(&steps).zip(trained) {
            let wanted = if *step == 0.0 { *latent } else { trained / step };
            let [low, high] = start_interval(*latent, largest);
            *latent = wanted.clamp(low, high);
        }
    }

    /// The real value of one level of every weight.
    fn steps(&self) -> Vec<f32> {
        let mut steps = vec![0.0; self.latent.len()];
        self.each_group(|plane, group, range| {
            let scale =
                self.scales.get(plane.scales + group).map_or(1.0, |scale| self.rounded(plane.index, *scale));
            let factor = self.factors[range.start / self.arrangement.channel_len()];
            steps[plane.levels + range.start..plane.levels + range.end].fill(scale * factor);
        });
        steps
    }

    fn rounded(&self, plane: usize, scale: f32) -> f32 {
        let most = self.most.get(plane).copied().unwrap_or(1);
        scale.round().clamp(0.0, f32::from(most))
    }

    /// Calls `visit` with every group of every plane; without groups, with every channel.
    fn each_group(&self, mut visit: impl FnMut(Plane, usize, std::ops::Range<usize>)) {
        let groups = self.arrangement.outputs * self.arrangement.channel_groups(self.precision);
        for index in 0..self.precision.planes() {
            let plane = Plane { index, levels: index * self.arrangement.len(), scales: index * groups };
            self.arrangement.groups(self.precision, 0..self.arrangement.outputs, |group, range| {
                visit(plane, group, range)
            });
        }
    }

    /// What a change of one means: the distance between ternary levels, and of finer ones about what a usual weight is.
    pub(in crate::train) fn unit(&self) -> f32 {
        (self.largest / 4.0).max(1.0)
    }

    /// The codes and scales as they would be packed.
    pub(in crate::train) fn weights(&self) -> Weights {
        let levels = self.latent.iter().map(|&latent| self.rounding.level(f64::from(latent), 1.0)).collect();
        let mut scales = vec![0; self.scales.len()];
        self.each_group(|plane, group, _| {
            if let Some(scale) = self.scales.get(plane.scales + group) {
                scales[plane.scales + group] = self.rounded(plane.index, *scale) as u8;
            }
        });
        Weights { precision: self.precision, levels, scales }
    }

    /// The real weights in storage order, without gains.
    pub(in crate::train) fn expand(&self) -> Vec<f32> {
        let Weights { precision, levels, scales } = self.weights();
        let weights = self.arrangement.expand(precision, &levels, &scales);
        let channels = weights.chunks_exact(self.arrangement.channel_len()).zip(&self.factors);
        channels
            .flat_map(|(channel, factor)| channel.iter().map(move |&weight| factor * f32::from(weight)))
            .collect()
    }

    /// Gradients of latent weights and of scales, given those of the real weights in storage order: rounding passes
    /// gradients on unchanged, but not beyond the outermost levels (Bengio et al., arXiv 1308.3432).
    pub(in crate::train) fn backward(&self, gradient: &[f32]) -> [Vec<f32>; 2] {
        let Weights { levels, .. } = self.weights();
        let beyond = self.largest + 0.5;
        let mut latent = self.steps();
        let mut scales = vec![0.0; self.scales.len()];
        self.each_group(|plane, group, range| {
            let factor = self.factors[range.start / self.arrangement.channel_len()];
            let own = plane.levels + range.start..plane.levels + range.end;
            let mut sum = 0.0;
            for ((place, level), dw) in own.clone().zip(&levels[own]).zip(&gradient[range]) {
                sum += dw * factor * f32::from(*level);
                let outward = latent[place] * dw * self.latent[place] < 0.0;
                let stuck = self.latent[place].abs() > beyond && outward;
                latent[place] *= if stuck { 0.0 } else { *dw };
            }
            if let Some(scale) = scales.get_mut(plane.scales + group) {
                *scale = sum;
            }
        });
        [latent, scales]
    }
}

/// Where a plane's levels and scales start.
#[derive(Debug, Clone, Copy)]
struct Plane {
    index: usize,
    levels: usize,
    scales: usize,
}
