//! Ternarization of some output channels by one thread.

use super::closed_form::{Solution, solve};
use super::lanes::{LANES, LARGEST, Tile};
use crate::kernels::Kernels;
use crate::kernels::blocked::Isa;
use std::borrow::Cow;

/// How the weights of a channel are arranged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Input channels.
    pub inputs: usize,
    /// Positions: elements of the remaining axes.
    pub positions: usize,
    /// Consecutive input channels that share a scale; more than there are is all of them.
    pub group: usize,
}

impl Form {
    /// Groups at one position.
    pub fn groups(&self) -> usize {
        self.inputs.div_ceil(self.group)
    }

    fn runs<'a>(&self, stored: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let group = self.group;
        stored.chunks_exact(self.inputs).flat_map(move |run| run.chunks(group))
    }
}

/// What is found for some output channels; codes and scales in storage order.
#[derive(Debug)]
pub(super) struct Channels<'a> {
    pub codes: &'a mut [i8],
    pub scales: &'a mut [u8],
    /// One per channel.
    pub factors: &'a mut [f32],
    /// Per channel the sum of squared errors and of squared weights.
    pub squares: &'a mut [[f64; 2]],
}

/// Memory of one thread.
#[derive(Debug)]
pub(super) struct Worker {
    form: Form,
    /// Whose registers to use.
    isa: Option<&'static Isa>,
    /// Weights in the order output channel, position, input channel.
    stored: Vec<f32>,
    tile: Tile,
    /// The best approximation of each group.
    solutions: Vec<Solution>,
    sorted: Vec<f64>,
}

impl Worker {
    pub(super) fn new(form: Form) -> Self {
        let group = form.group.min(form.inputs);
        let tile = Tile::new(if group <= LARGEST { group } else { 0 });
        let isa = Kernels::default().isa();
        Self { form, isa, stored: Vec::new(), tile, solutions: Vec::new(), sorted: Vec::new() }
    }

    /// Approximates the channels of `weights`; false, and nothing is done, if a weight is not finite.
    pub(super) fn run(&mut self, weights: &[f32], channels: Channels) -> bool {
        let finite = weights.iter().fold(true, |finite, weight| finite & weight.is_finite());
        if finite {
            let stored = self.in_storage_order(weights);
            self.approximate(&stored, channels);
            if let Cow::Owned(stored) = stored {
                self.stored = stored;
            }
        }
        finite
    }

    fn approximate(&mut self, stored: &[f32], channels: Channels) {
        let isa = self.isa;
        let work = || {
            self.solve(stored);
            self.round(stored, channels);
        };
        match isa {
            Some(isa) => isa.width.run(work),
            None => work(),
        }
    }

    fn in_storage_order<'a>(&mut self, weights: &'a [f32]) -> Cow<'a, [f32]> {
        let Form { inputs, positions, .. } = self.form;
        if positions == 1 {
            return Cow::Borrowed(weights);
        }
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(weights.len(), 0.0);
        let channels = stored.chunks_exact_mut(inputs * positions);
        for (channel, weights) in channels.zip(weights.chunks_exact(inputs * positions)) {
            for (position, run) in channel.chunks_exact_mut(inputs).enumerate() {
                let source = weights[position..].iter().step_by(positions);
                run.iter_mut().zip(source).for_each(|(place, weight)| *place = *weight);
            }
        }
        Cow::Owned(stored)
    }

    #[inline(always)]
    fn solve(&mut self, stored: &[f32]) {
        self.solutions.clear();
        let mut groups = self.form.runs(stored);
        if self.form.group.min(self.form.inputs) > LARGEST {
            let sorted = &mut self.sorted;
            let each = groups.map(|group| solve(group.iter().map(|&weight| f64::from(weight)), sorted));
            return self.solutions.extend(each);
        }
        let count = stored.len() / self.form.inputs * self.form.groups();
        while self.solutions.len() < count {
            let found = self.tile.solve(groups.by_ref().take(LANES));
            self.solutions.extend(found.into_iter().take(count - self.solutions.len()));
        }
    }

    /// Scales in multiples of one factor per channel, codes, and their errors.
    #[inline(always)]
    fn round(&self, stored: &[f32], channels: Channels) {
        let Form { inputs, positions, .. } = self.form;
        let (len, groups) = (inputs * positions, self.form.groups() * positions);
        let parts = stored.chunks_exact(len).zip(self.solutions.chunks_exact(groups));
        let places = channels.codes.chunks_exact_mut(len).zip(channels.scales.chunks_exact_mut(groups));
        let sums = channels.factors.iter_mut().zip(channels.squares);
        for (((weights, solutions), (codes, scales)), (factor, squares)) in parts.zip(places).zip(sums) {
            *factor = factor_of(solutions.iter().map(|solution| solution.scale).fold(0.0, f64::max));
            let mut codes = codes.chunks_exact_mut(inputs).flat_map(|run| run.chunks_mut(self.form.group));
            for ((weights, solution), scale) in self.form.runs(weights).zip(solutions).zip(scales) {
                *scale = (solution.scale / f64::from(*factor)).round().min(127.0) as u8;
                let value = f64::from(*scale) * f64::from(*factor);
                let threshold = if *scale == 0 { f32::INFINITY } else { solution.threshold as f32 };
                codes.next().into_iter().for_each(|codes| encode(weights, threshold, codes));
                add_squares(weights, threshold, value, squares);
            }
        }
    }
}

/// The `f32` nearest to a 127th of `largest`, or the next one if that falls short; 1 for nothing at all.
fn factor_of(largest: f64) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    let factor = (largest / 127.0) as f32;
    if f64::from(factor) * 127.5 < largest { factor.next_up() } else { factor }
}

/// The signs of the weights of at least `threshold`, which is positive.
#[inline(always)]
fn encode(weights: &[f32], threshold: f32, codes: &mut [i8]) {
    for (code, &weight) in codes.iter_mut().zip(weights) {
        *code = i8::from(weight >= threshold) - i8::from(weight <= -threshold);
    }
}

/// Adds the squared errors and the squared weights, one after another.
#[inline(always)]
fn add_squares(weights: &[f32], threshold: f32, value: f64, squares: &mut [f64; 2]) {
    for &weight in weights {
        let near = if weight.abs() >= threshold { value } else { 0.0 };
        let (error, weight) = (f64::from(weight.abs()) - near, f64::from(weight));
        squares[0] += error * error;
        squares[1] += weight * weight;
    }
}
