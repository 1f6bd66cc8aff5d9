//! Error-compensated ternarization: every layer is fitted to what the full-precision network computes, on the
//! inputs that the already converted network really produces (`docs/method.md`).

use super::gram::{Gram, Linear, Samples};
use super::spread::{Problem, Row};
use super::vector::{dot, times};
use crate::error::{Error, ErrorKind, Result};
use crate::format::MAX_INT4_CODE;
use crate::plan::Precision;
use crate::quantize::{Int4Channel, QuantizedConv, Weights};
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::{Llt, Solve};
use faer::{Accum, Mat, Par, Side};
use rayon::prelude::*;

/// Damping of the error spreading, relative to the mean variance of the inputs.
const SPREAD_DAMPING: f64 = 0.01;
/// Bounds of the target's damping, and the number of images per unit of it: few images say less about a layer.
const TARGET_DAMPING: [f64; 2] = [0.01, 0.1];
const DAMPING_IMAGES: f64 = 25.0;

/// Rounds in which errors that the activation hides are taken out of the target.
const ACTIVATION_ROUNDS: usize = 3;

/// Most output channels that are fitted together: every one of them would read the whole covariance.
const BATCH: usize = 16;
/// Batches that there should be at least, for threads to share.
const BATCHES: usize = 8;

/// What the outputs of a layer should be, whatever the precision of its weights.
pub(super) struct Objective {
    grams: Vec<Gram>,
    /// `inputs × outputs` per channel group, in real output per integer step of the input.
    targets: Vec<Mat<f64>>,
    /// Largest factor by which a damping had to be raised, 1 if none.
    raised: f64,
    input_scale: f64,
}

impl Objective {
    /// The wishes for a layer with these trained weights.
    pub(super) fn new(
        conv: &QuantizedConv,
        trained: &[f32],
        samples: &Samples,
        input_scale: f64,
    ) -> Result<Self> {
        let mut grams = samples.grams()?;
        let (targets, raised) = targets(&real_weights(conv, trained, input_scale), samples, &mut grams)?;
        Ok(Self { grams, targets, raised, input_scale })
    }

    /// Refits weights, gain and bias of a ternary or 4-bit layer. Yields also the largest factor by which a damping had
    /// to be raised, 1 if none.
    pub(super) fn fit(&self, conv: &QuantizedConv) -> Result<(QuantizedConv, f64)> {
        let precision = conv.choice.precision;
        if precision == Precision::Int8 {
            return Ok((conv.clone(), 1.0));
        }
        let mut raised = self.raised;
        let mut channels = Vec::with_capacity(conv.outputs);
        for (gram, target) in self.grams.iter().zip(&self.targets) {
            let (problem, spread_raised) = damped(&gram.inputs.covariance, SPREAD_DAMPING, |hessian| {
                Problem::new(hessian, conv.group_inputs, group_size(precision, conv.group_inputs))
            })?;
            raised = raised.max(spread_raised);
            let outputs: Vec<usize> = (0..conv.outputs / conv.groups).collect();
            let fit = |outputs: &[usize]| {
                let fitted = Channel::fit(precision, &problem, target, outputs, conv.group_inputs);
                let values: Vec<Vec<f64>> = fitted.iter().map(Channel::values).collect();
                let affines = affines(&values, gram, outputs);
                fitted.into_iter().zip(affines).map(|(channel, (gain, bias))| (channel, gain, bias))
            };
            let batch = (outputs.len() / BATCHES).clamp(1, BATCH);
            channels.par_extend(outputs.par_chunks(batch).flat_map_iter(fit));
        }
        Ok((self.assembled(conv, channels), raised))
    }

    /// `conv` with these channels, gains and biases.
    fn assembled(&self, conv: &QuantizedConv, channels: Vec<(Channel, f64, f64)>) -> QuantizedConv {
        let mut fitted = conv.clone();
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for (index, (channel, gain, bias)) in channels.into_iter().enumerate() {
            fitted.gain[index] = gain;
            fitted.bias[index] = bias;
            fitted.factors[index] = channel.unit / self.input_scale;
            codes.extend(channel.codes);
            scales.extend(channel.scales);
        }
        fitted.weights = match conv.weights {
            Weights::Ternary { group, .. } => Weights::Ternary { group, codes, scales },
            Weights::Int4 { group, .. } => Weights::Int4 { group, codes, scales },
            Weights::Int8 { .. } => Weights::Int8 { codes },
        };
        fitted
    }
}

/// Weights that share a scale, in runs of `run` inputs.
fn group_size(precision: Precision, run: usize) -> usize {
    match precision {
        Precision::Ternary { group } | Precision::Int4 { group: Some(group) } => group,
        Precision::Int4 { group: None } | Precision::Int8 => run,
    }
}

/// The corrected target of every channel group; what the activation hides is not corrected, and `grams` then
/// hold the outputs that remain to be wanted.
fn targets(trained: &Mat<f64>, samples: &Samples, grams: &mut [Gram]) -> Result<(Vec<Mat<f64>>, f64)> {
    let outputs = trained.ncols() / grams.len().max(1);
    let damping = target_damping(samples.sampler.activations.images());
    let ridge = |(index, gram): (usize, &Gram)| {
        Ridge::new(trained.get(.., index * outputs..(index + 1) * outputs).to_owned(), gram, damping)
    };
    let ridges: Vec<Ridge> = grams.iter().enumerate().map(ridge).collect::<Result<_>>()?;
    let solve = |grams: &[Gram]| ridges.iter().zip(grams).map(|(ridge, gram)| ridge.target(gram)).collect();
    let mut targets: Vec<Mat<f64>> = solve(grams);
    for _ in 0..if samples.is_clamped() { ACTIVATION_ROUNDS } else { 0 } {
        let now: Vec<Linear> =
            targets.iter().zip(&*grams).map(|(target, gram)| Linear::new(target, gram)).collect();
        let wanted = samples.hidden_errors_allowed(&now)?;
        grams.iter_mut().zip(wanted).for_each(|(gram, wanted)| gram.wanted = wanted);
        targets = solve(grams);
    }
    Ok((targets, ridges.iter().map(|ridge| ridge.raised).fold(1.0, f64::max)))
}

fn target_damping(images: usize) -> f64 {
    let [least, most] = TARGET_DAMPING;
    (DAMPING_IMAGES / images.max(1) as f64).clamp(least, most)
}

/// Weights in real output per integer step of the input, `inputs × outputs`.
fn real_weights(conv: &QuantizedConv, trained: &[f32], input_scale: f64) -> Mat<f64> {
    let inputs = conv.window.area() * conv.group_inputs;
    Mat::from_fn(inputs, conv.outputs, |input, output| {
        f64::from(trained[output * inputs + input]) * conv.gain[output] * input_scale
    })
}

/// `W + (H + λ)⁻¹ (C − H W)`: the ridge regression of the wanted outputs, started from the trained weights.
struct Ridge {
    trained: Mat<f64>,
    solver: Llt<f64>,
    /// By how much the damping had to be raised.
    raised: f64,
}

impl Ridge {
    fn new(trained: Mat<f64>, gram: &Gram, damping: f64) -> Result<Self> {
        let (solver, raised) =
            damped(&gram.inputs.covariance, damping, |hessian| hessian.llt(Side::Lower).ok())?;
        Ok(Self { trained, solver, raised })
    }

    fn target(&self, gram: &Gram) -> Mat<f64> {
        let mut error = gram.wanted.cross.clone();
        matmul(
            error.as_mut(),
            Accum::Add,
            gram.inputs.covariance.as_ref(),
            self.trained.as_ref(),
            -1.0,
            Par::Seq,
        );
        &self.trained + self.solver.solve(&error)
    }
}

/// Applies `use_` to `H + λ·mean diagonal`, raising the damping tenfold while it is not positive definite; yields
/// also by how much it was raised.
fn damped<T>(hessian: &Mat<f64>, damping: f64, use_: impl Fn(Mat<f64>) -> Option<T>) -> Result<(T, f64)> {
    let mean = (0..hessian.nrows()).map(|i| hessian[(i, i)]).sum::<f64>() / hessian.nrows().max(1) as f64;
    let mean = if mean > 0.0 { mean } else { 1.0 };
    let mut raised = 1.0;
    while damping * raised < 1e3 {
        let mut damped = hessian.clone();
        (0..hessian.nrows()).for_each(|i| damped[(i, i)] += damping * raised * mean);
        if let Some(result) = use_(damped) {
            return Ok((result, raised));
        }
        raised *= 10.0;
    }
    Err(Error::new(ErrorKind::NonFinite, "the inputs' covariance has no inverse; are activations finite?"))
}

/// One output channel, fitted.
struct Channel {
    codes: Vec<i8>,
    /// One per group, or none.
    scales: Vec<u8>,
    /// Real value of one step of the scales, or of the codes without scales.
    unit: f64,
    run: usize,
    group: usize,
}

impl Channel {
    /// Codes and scales for some columns of `target`.
    fn fit(
        precision: Precision,
        problem: &Problem,
        target: &Mat<f64>,
        outputs: &[usize],
        run: usize,
    ) -> Vec<Self> {
        let targets = outputs.iter().map(|&output| target.col_as_slice(output));
        match precision {
            Precision::Int4 { group } => {
                targets.map(|target| Self::int4(problem, target, run, group)).collect()
            }
            _ => Self::ternary(problem, targets, run, group_size(precision, run)),
        }
    }

    fn ternary<'a>(
        problem: &Problem,
        targets: impl Iterator<Item = &'a [f64]>,
        run: usize,
        group: usize,
    ) -> Vec<Self> {
        let scaled = |target: &[f64]| {
            let unit = unit(target, run, group);
            (unit, target.iter().map(|weight| weight / unit).collect())
        };
        let (units, targets): (Vec<f64>, Vec<Vec<f64>>) = targets.map(scaled).unzip();
        let rows = problem.solve(&targets).into_iter().zip(units);
        rows.map(|(Row { codes, scales }, unit)| Self { codes, scales, unit, run, group }).collect()
    }

    /// The steps are those of the target's own nearest approximation.
    fn int4(problem: &Problem, target: &[f64], run: usize, group: Option<usize>) -> Self {
        let nearest = Self::nearest_int4(target, run, group);
        let steps: Vec<f64> = (0..target.len()).map(|index| nearest.step(index)).collect();
        Self { codes: problem.solve_codes(target, &steps, MAX_INT4_CODE), ..nearest }
    }

    fn nearest_int4(target: &[f64], run: usize, group: Option<usize>) -> Self {
        let Int4Channel { codes, scales, factor, .. } = Int4Channel::nearest(target, run, group);
        Self { codes, scales, unit: factor, run, group: group.unwrap_or(run) }
    }

    /// Real value of one step of a weight's code.
    fn step(&self, index: usize) -> f64 {
        let group = index / self.run * self.run.div_ceil(self.group) + index % self.run / self.group;
        self.unit * self.scales.get(group).map_or(1.0, |&scale| f64::from(scale))
    }

    fn values(&self) -> Vec<f64> {
        let codes = self.codes.iter().enumerate();
        codes.map(|(index, &code)| f64::from(code) * self.step(index)).collect()
    }
}

/// One step of the scales, with room for them to grow.
fn unit(target: &[f64], run: usize, group: usize) -> f64 {
    let groups = target.chunks(run).flat_map(|run| run.chunks(group));
    let largest = groups.map(super::spread::closed_form_scale).fold(0.0, f64::max);
    if largest > 0.0 { largest * 1.15 / 127.0 } else { 1.0 }
}

/// Gains and biases with which the outputs of the real weights `values` match the wanted `outputs`.
fn affines(values: &[Vec<f64>], gram: &Gram, outputs: &[usize]) -> Vec<(f64, f64)> {
    let products = times(&gram.inputs.covariance, values);
    let affine = |(place, (&output, values)): (usize, (&usize, &Vec<f64>))| {
        let variance = dot(products.col_as_slice(place), values);
        let cross = dot(gram.wanted.cross.col_as_slice(output), values);
        let gain = gain(variance, cross, gram.wanted.variances[output]);
        (gain, gram.wanted.means[output] - gain * dot(values, &gram.inputs.means))
    };
    outputs.iter().zip(values).enumerate().map(affine).collect()
}

fn gain(variance: f64, cross: f64, wanted: f64) -> f64 {
    if variance <= 0.0 || cross <= 0.0 {
        return if variance <= 0.0 { 1.0 } else { 0.0 };
    }
    (wanted / variance).sqrt()
}

#[cfg(test)]
mod tests;
