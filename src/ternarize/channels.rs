//! Ternarization of some output channels by one thread.

use super::closed_form::solve;
use super::lanes::{GroupLanes, LANES, LARGEST};
use crate::wide::Width;
use std::hint::select_unpredictable as select;

/// How the weights of a channel are arranged.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelLayout {
    /// Input channels.
    pub inputs: usize,
    /// Positions: elements of the remaining axes.
    pub positions: usize,
    /// Consecutive input channels that share a scale, at most all of them.
    pub group: usize,
    /// Scales are at most this.
    pub largest_scale: u8,
}

impl ChannelLayout {
    /// Weights of a channel.
    pub fn len(&self) -> usize {
        self.inputs * self.positions
    }

    /// Groups of a channel.
    pub fn groups(&self) -> usize {
        self.inputs.div_ceil(self.group) * self.positions
    }

    /// One value per group → one per weight.
    #[inline(always)]
    fn spread<T: Copy>(&self, groups: &[T], weights: &mut [T]) {
        let per_run = self.inputs.div_ceil(self.group);
        if self.group == 4 && self.inputs.is_multiple_of(4) {
            let four = weights.as_chunks_mut::<4>().0.iter_mut();
            return four.zip(groups).for_each(|(four, &value)| *four = [value; 4]);
        }
        for (run, values) in weights.chunks_exact_mut(self.inputs).zip(groups.chunks_exact(per_run)) {
            run.chunks_mut(self.group).zip(values).for_each(|(group, &value)| group.fill(value));
        }
    }
}

/// What is found for some output channels; codes and scales in storage order.
#[derive(Debug)]
pub(super) struct ChannelSlices<'a> {
    pub codes: &'a mut [i8],
    pub scales: &'a mut [u8],
    /// One per channel.
    pub factors: &'a mut [f32],
    /// Per channel the sum of squared errors and of squared weights.
    pub squares: &'a mut [[f64; 2]],
}

/// Memory of one thread, for one channel.
#[derive(Debug)]
pub(super) struct Worker {
    form: ChannelLayout,
    /// Weights in the order position, input channel.
    stored: Vec<f32>,
    tile: GroupLanes,
    sorted: Vec<f64>,
    /// Of each group: real scale, later the value of a code of one.
    values: Vec<f64>,
    /// Of each group: smallest magnitude that keeps its sign.
    thresholds: Vec<f32>,
    /// The same of each weight.
    weight_values: Vec<f64>,
    weight_thresholds: Vec<f32>,
}

impl Worker {
    pub(super) fn new(form: ChannelLayout) -> Self {
        let surplus = form.groups().next_multiple_of(LANES);
        Self {
            form,
            stored: vec![0.0; if form.positions > 1 { form.len() } else { 0 }],
            tile: GroupLanes::new(if form.group <= LARGEST { form.group } else { 0 }),
            sorted: Vec::new(),
            values: Vec::with_capacity(surplus),
            thresholds: Vec::with_capacity(surplus),
            weight_values: vec![0.0; form.len()],
            weight_thresholds: vec![0.0; form.len()],
        }
    }

    /// Approximates the channels of `weights`; false, and nothing is done, if a weight is not finite.
    pub(super) fn run(&mut self, weights: &[f32], channels: ChannelSlices) -> bool {
        let finite = all_finite(weights);
        if finite {
            Width::widest().run(
                #[inline(always)]
                || self.approximate(weights, channels),
            );
        }
        finite
    }

    #[inline(always)]
    fn approximate(&mut self, weights: &[f32], channels: ChannelSlices) {
        let (len, groups) = (self.form.len(), self.form.groups());
        let places = channels.codes.chunks_exact_mut(len).zip(channels.scales.chunks_exact_mut(groups));
        let sums = channels.factors.iter_mut().zip(channels.squares);
        for ((weights, (codes, scales)), (factor, squares)) in weights.chunks_exact(len).zip(places).zip(sums)
        {
            let mut stored = std::mem::take(&mut self.stored);
            let weights = in_storage_order(weights, &self.form, &mut stored);
            self.solve(weights);
            *factor = self.round(scales);
            self.form.spread(&self.values, &mut self.weight_values);
            self.form.spread(&self.thresholds, &mut self.weight_thresholds);
            encode(weights, &self.weight_thresholds, codes);
            add_squares(weights, &self.weight_thresholds, &self.weight_values, squares);
            self.stored = stored;
        }
    }

    /// Real scales and thresholds.
    #[inline(always)]
    fn solve(&mut self, weights: &[f32]) {
        let Self { form, tile, sorted, values, thresholds, .. } = self;
        values.clear();
        thresholds.clear();
        if form.group <= LARGEST {
            tile.solve_all(weights, form.inputs, |found| {
                values.extend_from_slice(&found.scales);
                thresholds.extend(found.thresholds.map(|threshold| threshold as f32));
            });
            values.truncate(form.groups());
            thresholds.truncate(form.groups());
            return;
        }
        for group in weights.chunks_exact(form.inputs).flat_map(|run| run.chunks(form.group)) {
            let found = solve(group.iter().map(|&weight| f64::from(weight)), sorted);
            values.push(found.scale);
            thresholds.push(found.threshold as f32);
        }
    }

    /// Brings real scales to multiples of one factor, which is returned; groups whose scale vanishes keep no sign.
    #[inline(always)]
    fn round(&mut self, scales: &mut [u8]) -> f32 {
        let most = f64::from(self.form.largest_scale);
        let factor = factor_of(largest(&self.values), most);
        for (value, rounded) in self.values.iter_mut().zip(scales.iter_mut()) {
            let scale = (*value / f64::from(factor)).round();
            let scale = select(scale < most, scale, most);
            *rounded = scale as u8;
            *value = scale * f64::from(factor);
        }
        for (threshold, &scale) in self.thresholds.iter_mut().zip(scales.iter()) {
            *threshold = select(scale == 0, f32::INFINITY, *threshold);
        }
        factor
    }
}

/// Exponents below the largest, looked at without a branch for each.
fn all_finite(weights: &[f32]) -> bool {
    let size = |weight: &f32| weight.to_bits() & 0x7FFF_FFFF;
    weights.iter().map(size).fold(0, u32::max) < f32::INFINITY.to_bits()
}

/// One channel's weights in the order position, input channel; `place` has room for them if that is another one.
#[inline(always)]
fn in_storage_order<'a>(weights: &'a [f32], form: &ChannelLayout, place: &'a mut [f32]) -> &'a [f32] {
    if form.positions == 1 {
        return weights;
    }
    for (position, run) in place.chunks_exact_mut(form.inputs).enumerate() {
        let source = weights[position..].iter().step_by(form.positions);
        run.iter_mut().zip(source).for_each(|(place, weight)| *place = *weight);
    }
    place
}

/// The largest of numbers that are not negative, 0 if there is none.
#[inline(always)]
fn largest(values: &[f64]) -> f64 {
    let larger = |a: f64, b: f64| select(a > b, a, b);
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &value)| *lane = larger(*lane, value));
    }
    lanes.iter().chain(rest).copied().fold(0.0, larger)
}

/// The `f32` of which `largest` is `most` times as much, or the next one if that falls short; 1 for nothing at all.
fn factor_of(largest: f64, most: f64) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    let factor = (largest / most) as f32;
    if f64::from(factor) * (most + 0.5) < largest { factor.next_up() } else { factor }
}

/// The signs of the weights of at least their threshold, which is positive.
#[inline(always)]
fn encode(weights: &[f32], thresholds: &[f32], codes: &mut [i8]) {
    for ((code, &weight), &threshold) in codes.iter_mut().zip(weights).zip(thresholds) {
        *code = i8::from(weight >= threshold) - i8::from(weight <= -threshold);
    }
}

/// Adds the squared errors and the squared weights, one after another.
#[inline(always)]
fn add_squares(weights: &[f32], thresholds: &[f32], values: &[f64], sums: &mut [f64; 2]) {
    let (blocks, rest) = weights.as_chunks::<LANES>();
    let ((threshold_blocks, thresholds), (value_blocks, values)) =
        (thresholds.as_chunks(), values.as_chunks());
    let [mut error, mut total] = *sums;
    for ((weights, thresholds), values) in blocks.iter().zip(threshold_blocks).zip(value_blocks) {
        let [errors, squares] = squares(weights, thresholds, values);
        errors.iter().zip(&squares).for_each(|(e, square)| (error, total) = (error + e, total + square));
    }
    for ((&weight, &threshold), &value) in rest.iter().zip(thresholds).zip(values) {
        let [[e], [square]] = squares(&[weight], &[threshold], &[value]);
        (error, total) = (error + e, total + square);
    }
    *sums = [error, total];
}

/// Squared errors and squared weights.
#[inline(always)]
fn squares<const N: usize>(weights: &[f32; N], thresholds: &[f32; N], values: &[f64; N]) -> [[f64; N]; 2] {
    let mut squares = [[0.0; N]; 2];
    for index in 0..N {
        let size = weights[index].abs();
        let near = select(size >= thresholds[index], values[index], 0.0);
        let (error, size) = (f64::from(size) - near, f64::from(size));
        squares[0][index] = error * error;
        squares[1][index] = size * size;
    }
    squares
}
