//! Error-compensated ternarization: every layer is fitted to what the full-precision network computes, on the
//! inputs that the already converted network really produces (`docs/method.md`).

use super::gram::{Gram, Linear, Samples};
use super::spread::{Problem, Row, dot};
use crate::error::{Error, ErrorKind, Result};
use crate::quantize::{QuantizedConv, Weights};
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

/// Refits weights, gain and bias of a ternary layer to the wanted outputs. Yields also the largest factor by which
/// a damping had to be raised, 1 if none.
pub(super) fn compensate(
    conv: &QuantizedConv,
    trained: &[f32],
    samples: &Samples,
    input_scale: f64,
) -> Result<(QuantizedConv, f64)> {
    let Weights::Ternary { group, .. } = conv.weights else { return Ok((conv.clone(), 1.0)) };
    let mut fitted = conv.clone();
    let (mut all_codes, mut all_scales) = (Vec::new(), Vec::new());
    let mut grams = samples.gram()?;
    let (targets, mut raised) = targets(&real_weights(conv, trained, input_scale), samples, &mut grams)?;
    let outputs = conv.outputs / conv.groups;
    for (index, (gram, target)) in grams.iter().zip(&targets).enumerate() {
        let (problem, spread_raised) =
            damped(&gram.inputs, SPREAD_DAMPING, |hessian| Problem::new(hessian, conv.group_inputs, group))?;
        raised = raised.max(spread_raised);
        let rows: Vec<(Row, f64)> = (0..outputs)
            .into_par_iter()
            .map(|output| fit_row(&problem, target.col_as_slice(output), conv.group_inputs, group))
            .collect();
        for (output, (row, unit)) in rows.into_iter().enumerate() {
            let channel = index * outputs + output;
            let (gain, bias) = affine(&row, unit, gram, output, conv.group_inputs, group);
            fitted.gain[channel] = gain;
            fitted.bias[channel] = bias;
            fitted.factors[channel] = unit / input_scale;
            all_codes.extend(row.codes);
            all_scales.extend(row.scales);
        }
    }
    fitted.weights = Weights::Ternary { group, codes: all_codes, scales: all_scales };
    Ok((fitted, raised))
}

/// The corrected target of every channel group; what the activation hides is not corrected, and `grams` then
/// hold the outputs that remain to be wanted.
fn targets(trained: &Mat<f64>, samples: &Samples, grams: &mut [Gram]) -> Result<(Vec<Mat<f64>>, f64)> {
    let outputs = trained.ncols() / grams.len().max(1);
    let damping = target_damping(samples.inputs.images());
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
        let (solver, raised) = damped(&gram.inputs, damping, |hessian| hessian.llt(Side::Lower).ok())?;
        Ok(Self { trained, solver, raised })
    }

    fn target(&self, gram: &Gram) -> Mat<f64> {
        let mut error = gram.wanted.cross.clone();
        matmul(error.as_mut(), Accum::Add, gram.inputs.as_ref(), self.trained.as_ref(), -1.0, Par::Seq);
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

/// Codes and scales of one output channel, and the real value of one step of its scales.
fn fit_row(problem: &Problem, target: &[f64], run: usize, group: usize) -> (Row, f64) {
    let largest = target
        .chunks(run)
        .flat_map(|run| run.chunks(group))
        .map(super::spread::closed_form_scale)
        .fold(0.0, f64::max);
    let unit = if largest > 0.0 { largest * 1.15 / 127.0 } else { 1.0 };
    let scaled: Vec<f64> = target.iter().map(|weight| weight / unit).collect();
    (problem.solve(&scaled), unit)
}

/// Gain and bias with which the outputs match the wanted ones.
fn affine(row: &Row, unit: f64, gram: &Gram, output: usize, run: usize, group: usize) -> (f64, f64) {
    let groups = run.div_ceil(group);
    let value = |index: usize| row.value(index, index / run * groups + index % run / group) * unit;
    let values: Vec<f64> = (0..row.codes.len()).map(value).collect();
    let columns = values.iter().enumerate().filter(|(_, value)| **value != 0.0);
    let variance: f64 = columns.map(|(i, value)| value * dot(gram.inputs.col_as_slice(i), &values)).sum();
    let cross = dot(gram.wanted.cross.col_as_slice(output), &values);
    let gain = gain(variance, cross, gram.wanted.variances[output]);
    (gain, gram.wanted.means[output] - gain * dot(&values, &gram.means))
}

fn gain(variance: f64, cross: f64, wanted: f64) -> f64 {
    if variance <= 0.0 || cross <= 0.0 {
        return if variance <= 0.0 { 1.0 } else { 0.0 };
    }
    (wanted / variance).sqrt()
}

#[cfg(test)]
mod tests;
