//! Error-compensated conversion: every layer is fitted to what the full-precision network computes, on the inputs that
//! the already converted network really produces (`docs/method.md`).

use super::gram::Gram;
use super::matrix::{filled, product};
use super::objective::{Objective, damped};
use super::spread::{ChannelSolution, LeastSquares, closed_form_scale};
use super::statistics::{Matched, change};
use super::vector::dot;
use crate::calibrate::ChannelStatistics;
use crate::error::Result;
use crate::plan::Choice;
use crate::precision::{Arrangement, Precision, Rounding};
use crate::quantize::{NearestChannel, QuantizedConv, Weights};
use faer::Mat;
use rayon::prelude::*;

/// Damping of the error spreading, relative to the mean variance of the inputs.
const SPREAD_DAMPING: f64 = 0.01;
/// Room for scales to grow beyond what groups would have on their own.
const ROOM: f64 = 1.15;
/// From so many scales on a finer step gains nothing.
const MANY_SCALES: f32 = 64.0;
/// Steps of few scales that are tried, relative to the one with room.
const UNITS: [f64; 3] = [1.0, 0.8, 0.65];
/// So many levels, or fewer, gain by a finer step than the nearest weights have, of which some shares are tried.
const FEW_LEVELS: usize = 15;
const STEPS: [f64; 3] = [1.0, 0.92, 0.84];
/// How often planes are improved in turn.
const PLANE_ROUNDS: usize = 2;
/// Most output channels that are fitted together: every one of them would read the whole covariance.
const BATCH: usize = 32;
/// Batches that there should be at least, for threads to share.
const BATCHES: usize = 8;

impl Objective {
    /// Refits weights, gain and bias of a layer. Yields also the largest factor by which a damping had
    /// to be raised, 1 if none.
    pub(super) fn fit(&self, conv: &QuantizedConv) -> Result<(QuantizedConv, f64)> {
        let precision = conv.choice.precision;
        let (mut raised, run) = (self.raised, conv.group_inputs);
        let mut channels = Vec::with_capacity(conv.outputs);
        for (gram, target) in self.grams.iter().zip(&self.targets) {
            let (problem, spread_raised) = damped(&gram.inputs.covariance, SPREAD_DAMPING, |hessian| {
                LeastSquares::new(hessian, run, precision.group().unwrap_or(run))
            })?;
            raised = raised.max(spread_raised);
            let count = conv.outputs / conv.groups;
            let fitting =
                Fitting { precision, problem: &problem, run, nest: self.nested(conv, channels.len()) };
            let outputs: Vec<usize> = (0..count).collect();
            let fit = |outputs: &[usize]| fitting.channels(outputs, |output| target.col_as_slice(output));
            let batch = (outputs.len() / BATCHES).clamp(1, BATCH);
            let fitted: Vec<Channel> = outputs.par_chunks(batch).flat_map_iter(fit).collect();
            let values: Vec<Vec<f64>> = fitted.par_iter().map(|channel| fitting.values(channel)).collect();
            let affines = affines(&values, gram);
            channels
                .extend(fitted.into_iter().zip(affines).map(|(channel, (gain, bias))| (channel, gain, bias)));
        }
        Ok((self.assembled(conv.clone(), &channels), raised))
    }

    /// What channels from `first` on are fitted within.
    fn nested<'c>(&self, conv: &'c QuantizedConv, first: usize) -> Option<Nested<'c>> {
        let nest = conv.nest.as_ref()?;
        let kept = |(weights, factors): &'c (Weights, Vec<f64>)| KeptPlanes {
            weights,
            units: factors[first..].iter().map(|factor| factor * self.input_scale).collect(),
            first,
            outputs: conv.outputs,
        };
        Some(Nested { largest: nest.whole.plane_scales(), kept: nest.kept.as_ref().map(kept) })
    }

    /// The layer with 8-bit weights next to the target.
    pub(super) fn draft(&self, conv: &QuantizedConv) -> QuantizedConv {
        let precision = Precision::int8();
        let of_group = |(gram, target): (&Gram, &Mat<f64>)| {
            let channel = |output: usize| {
                let values = target.col_as_slice(output);
                let nearest = NearestChannel::new(values, conv.group_inputs, precision);
                let weights = Weights { precision, levels: nearest.levels, scales: nearest.scales };
                let bias = gram.wanted.means[output] - dot(values, &gram.inputs.means);
                (Channel { weights, unit: nearest.factor }, 1.0, bias)
            };
            (0..target.ncols()).into_par_iter().map(channel).collect::<Vec<_>>()
        };
        let channels: Vec<_> = self.grams.iter().zip(&self.targets).flat_map(of_group).collect();
        let choice = Choice { precision, ..conv.choice };
        self.assembled(QuantizedConv { choice, ..conv.clone() }, &channels)
    }

    /// The layer as it is, but for gains and biases with which its outputs have the mean, and variance, of full precision.
    pub(super) fn matched(
        &self,
        conv: &QuantizedConv,
        full: &ChannelStatistics,
        matched: Matched,
    ) -> QuantizedConv {
        let mut fitted = conv.clone();
        let (len, outputs) = (conv.window.area() * conv.group_inputs, conv.outputs / conv.groups);
        let integers = conv.expand();
        for (group, gram) in self.grams.iter().enumerate() {
            let values: Vec<Vec<f64>> = (group * outputs..(group + 1) * outputs)
                .map(|output| {
                    let unit = conv.gain[output] * conv.factors[output] * self.input_scale;
                    integers[output * len..][..len].iter().map(|&integer| f64::from(integer) * unit).collect()
                })
                .collect();
            let changes: Vec<f64> = match matched {
                Matched::Mean => vec![1.0; outputs],
                Matched::MeanAndVariance => {
                    let wanted = (group * outputs..).map(|output| full.variance(output).sqrt());
                    variances(gram, &values)
                        .iter()
                        .zip(wanted)
                        .map(|(found, wanted)| change(wanted, found.sqrt()))
                        .collect()
                }
            };
            for (place, (values, change)) in values.iter().zip(changes).enumerate() {
                let output = group * outputs + place;
                fitted.gain[output] *= change;
                fitted.bias[output] = full.mean(output) - change * dot(values, &gram.inputs.means);
            }
        }
        fitted
    }

    /// A layer with these channels, gains and biases.
    fn assembled(&self, mut fitted: QuantizedConv, channels: &[(Channel, f64, f64)]) -> QuantizedConv {
        for (index, (channel, gain, bias)) in channels.iter().enumerate() {
            (fitted.gain[index], fitted.bias[index]) = (*gain, *bias);
            fitted.factors[index] = channel.unit / self.input_scale;
        }
        let parts =
            channels.iter().map(|(channel, ..)| (&channel.weights.levels[..], &channel.weights.scales[..]));
        fitted.weights = Weights::of_channels(fitted.choice.precision, parts);
        fitted
    }
}

/// One output channel, fitted.
struct Channel {
    weights: Weights,
    /// Real value of one step of the scales, or of the codes without scales.
    unit: f64,
}

/// What all output channels of a layer or channel group share.
struct Fitting<'a> {
    precision: Precision,
    problem: &'a LeastSquares,
    /// Input channels of a run.
    run: usize,
    nest: Option<Nested<'a>>,
}

/// What planes are fitted within.
struct Nested<'a> {
    /// The largest scale in each plane of all.
    largest: Vec<u8>,
    kept: Option<KeptPlanes<'a>>,
}

/// Planes that stay as they are.
struct KeptPlanes<'a> {
    weights: &'a Weights,
    /// One step of the scales of each output channel from `first` on.
    units: Vec<f64>,
    first: usize,
    /// Output channels of the layer.
    outputs: usize,
}

impl KeptPlanes<'_> {
    /// The planes of some output channels.
    fn planes(&self, outputs: &[usize]) -> Vec<Vec<ChannelSolution>> {
        let channel = |output: usize| self.weights.channel(self.first + output, self.outputs);
        let solution = |plane: usize, output: usize| {
            let (levels, scales) = channel(output).nth(plane).unwrap_or_default();
            ChannelSolution { codes: levels.to_vec(), scales: scales.to_vec() }
        };
        let rows = |plane| outputs.iter().map(|&output| solution(plane, output)).collect();
        (0..self.weights.precision.planes()).map(rows).collect()
    }
}

impl Fitting<'_> {
    /// Codes and scales for output channels with these targets.
    fn channels<'t>(&self, outputs: &[usize], target: impl Fn(usize) -> &'t [f64]) -> Vec<Channel> {
        let targets: Vec<&[f64]> = outputs.iter().map(|&output| target(output)).collect();
        if self.precision.is_ternary() {
            self.ternary(outputs, &targets)
        } else {
            let rounding = Rounding::to(self.precision.levels());
            targets.into_iter().map(|target| self.levels(target, &rounding)).collect()
        }
    }

    fn ternary(&self, outputs: &[usize], targets: &[&[f64]]) -> Vec<Channel> {
        let own = || self.precision.plane_scales();
        let largest = self.nest.as_ref().map_or_else(own, |nest| nest.largest.clone());
        let largest: Vec<f32> = largest.into_iter().take(self.precision.planes()).map(f32::from).collect();
        let kept = self.nest.as_ref().and_then(|nest| nest.kept.as_ref());
        let units = match kept {
            Some(kept) => outputs.iter().map(|&output| kept.units[output]).collect(),
            None => self.units(targets, largest[0]),
        };
        let targets: Vec<Vec<f32>> =
            targets.iter().zip(&units).map(|(target, unit)| in_units(target, *unit)).collect();
        let planes = self.planes(&targets, &largest, kept.map_or_else(Vec::new, |kept| kept.planes(outputs)));
        let channel = |(place, unit): (usize, f64)| {
            let levels: Vec<i8> = planes.iter().flat_map(|rows| rows[place].codes.iter().copied()).collect();
            let scales: Vec<u8> = planes.iter().flat_map(|rows| rows[place].scales.iter().copied()).collect();
            Channel { weights: Weights { precision: self.precision, levels, scales }, unit }
        };
        units.into_iter().enumerate().map(channel).collect()
    }

    /// Plane after plane, each on what the planes before it left; then, unless some are to stay, each improved while the
    /// others stay.
    fn planes(
        &self,
        targets: &[Vec<f32>],
        largest: &[f32],
        kept: Vec<Vec<ChannelSolution>>,
    ) -> Vec<Vec<ChannelSolution>> {
        let left = |rest: &[Vec<f32>], rows: &[ChannelSolution]| -> Vec<Vec<f32>> {
            rest.iter().zip(rows).map(|(rest, row)| self.problem.errors(rest, row)).collect()
        };
        let mut rest = kept.iter().fold(targets.to_vec(), |rest, rows| left(&rest, rows));
        let mut planes = kept;
        for &largest in &largest[planes.len()..] {
            let rows = self.problem.solve(&rest, largest);
            rest = left(&rest, &rows);
            planes.push(rows);
        }
        let rounds = if planes.len() > 1 && self.nest.is_none() { PLANE_ROUNDS } else { 0 };
        for plane in (0..rounds).flat_map(|_| 0..largest.len()) {
            for (row, rest) in planes[plane].iter_mut().zip(&mut rest) {
                let better = self.problem.improve(row, rest, largest[plane]);
                let [old, new] = [&*row, &better].map(|row| self.problem.values(row));
                let moved = old.iter().zip(&new).map(|(old, new)| old - new);
                rest.iter_mut().zip(moved).for_each(|(rest, moved)| *rest += moved);
                *row = better;
            }
        }
        planes
    }

    /// The step is that of the target's own nearest approximation or, where levels are few, a share of it that leaves less
    /// error.
    fn levels(&self, target: &[f64], rounding: &Rounding) -> Channel {
        let nearest = NearestChannel::new(target, self.run, self.precision);
        let shares =
            if self.precision.levels().iter().count() <= FEW_LEVELS { &STEPS[..] } else { &STEPS[..1] };
        let channel = |&share: &f64| {
            let mut channel = Channel {
                weights: Weights {
                    precision: self.precision,
                    levels: vec![1; target.len()],
                    scales: nearest.scales.clone(),
                },
                unit: nearest.factor * share,
            };
            let steps = in_units(&self.values(&channel), channel.unit);
            let (levels, error) =
                self.problem.solve_levels(&in_units(target, channel.unit), &steps, rounding);
            channel.weights.levels = levels;
            (f64::from(error) * channel.unit.powi(2), channel)
        };
        let better =
            |best: (f64, Channel), other: (f64, Channel)| if other.0 < best.0 { other } else { best };
        shares[1..].iter().map(channel).fold(channel(&shares[0]), better).1
    }

    /// The real weights.
    fn values(&self, channel: &Channel) -> Vec<f64> {
        let Weights { precision, levels, scales } = &channel.weights;
        let positions = levels.len() / precision.planes() / self.run;
        let one = Arrangement { outputs: 1, positions, inputs: self.run };
        let integers = one.expand(*precision, levels, scales);
        integers.into_iter().map(|integer| f64::from(integer) * channel.unit).collect()
    }

    /// One step of the scales for each target: with room for them to grow where there are many, else the one with which
    /// rounding leaves least.
    fn units(&self, targets: &[&[f64]], largest: f32) -> Vec<f64> {
        let roomy: Vec<f64> = targets.iter().map(|target| self.roomy_unit(target, largest)).collect();
        if largest >= MANY_SCALES {
            return roomy;
        }
        let mut best: Vec<(f64, f64)> = roomy.iter().map(|&unit| (f64::INFINITY, unit)).collect();
        for share in UNITS {
            let units = roomy.iter().map(|unit| unit * share);
            let scaled: Vec<Vec<f32>> =
                targets.iter().zip(units.clone()).map(|(target, unit)| in_units(target, unit)).collect();
            let errors = self.problem.rounding_errors(&scaled, largest);
            for ((best, error), unit) in best.iter_mut().zip(errors).zip(units) {
                let error = f64::from(error) * unit * unit;
                if error < best.0 {
                    *best = (error, unit);
                }
            }
        }
        best.into_iter().map(|(_, unit)| unit).collect()
    }

    /// The widest group's own scale with room to grow, over the largest scale.
    fn roomy_unit(&self, target: &[f64], largest: f32) -> f64 {
        let group = self.precision.group().unwrap_or(self.run);
        let groups = target.chunks(self.run).flat_map(|run| run.chunks(group));
        let widest = groups.map(|group| closed_form_scale(group.iter().copied())).fold(0.0, f64::max);
        if widest > 0.0 { widest * ROOM / f64::from(largest) } else { 1.0 }
    }
}

fn in_units(target: &[f64], unit: f64) -> Vec<f32> {
    target.iter().map(|weight| (weight / unit) as f32).collect()
}

/// The variance of the outputs of real weights, channel by channel.
fn variances(gram: &Gram, values: &[Vec<f64>]) -> Vec<f64> {
    let columns = filled(gram.inputs.means.len(), values.len(), |row, column| values[column][row]);
    let products = product(&gram.inputs.covariance, &columns);
    values.iter().enumerate().map(|(place, values)| dot(products.col_as_slice(place), values)).collect()
}

/// Gains and biases with which the outputs of the real weights `values` match the wanted ones.
fn affines(values: &[Vec<f64>], gram: &Gram) -> Vec<(f64, f64)> {
    let affine = |(output, (values, variance)): (usize, (&Vec<f64>, f64))| {
        let cross = dot(gram.wanted.cross.col_as_slice(output), values);
        let gain = gain(variance, cross, gram.wanted.variances[output]);
        (gain, gram.wanted.means[output] - gain * dot(values, &gram.inputs.means))
    };
    values.iter().zip(variances(gram, values)).enumerate().map(affine).collect()
}

fn gain(variance: f64, cross: f64, wanted: f64) -> f64 {
    if variance <= 0.0 || cross <= 0.0 {
        return if variance <= 0.0 { 1.0 } else { 0.0 };
    }
    (wanted / variance).sqrt()
}

#[cfg(test)]
mod tests;
