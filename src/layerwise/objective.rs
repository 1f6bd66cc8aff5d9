//! What the outputs of a layer should be, and the weights that would yield them without any rounding.

use super::gram::{Gram, Linear, Samples};
use super::matrix::{Cholesky, filled, product};
use crate::error::{Error, ErrorKind, Result};
use crate::quantize::QuantizedConv;
use faer::Mat;
use rayon::prelude::*;

/// Bounds of the target's damping, and the number of images per unit of it: few images say less about a layer.
const TARGET_DAMPING: [f64; 2] = [0.01, 0.1];
const DAMPING_IMAGES: f64 = 25.0;
/// Rounds in which errors that the activation hides are taken out of the target.
const ACTIVATION_ROUNDS: usize = 3;

/// What the outputs of a layer should be, whatever the precision of its weights.
pub(super) struct Objective {
    pub grams: Vec<Gram>,
    /// `inputs × outputs` per channel group, in real output per integer step of the input.
    pub targets: Vec<Mat<f64>>,
    /// Largest factor by which a damping had to be raised, 1 if none.
    pub raised: f64,
    /// Real value of one step of the input.
    pub input_scale: f64,
    /// Of the target, relative to the mean variance of the inputs.
    damping: f64,
    origins: Vec<Origin>,
}

/// Trained weights that a target starts from.
struct Origin {
    /// Laid out as the target.
    weights: Mat<f64>,
    /// Their covariance with the inputs, `H W`, less what rounding of the inputs has in it: inputs that are rounded make any
    /// regression shrink, and that is not held against the trained weights.
    cross: Mat<f64>,
}

impl Objective {
    /// The wishes for a layer with these trained weights. What its activation hides is not corrected, and `grams` then hold
    /// the outputs that remain to be wanted.
    pub(super) fn new(
        conv: &QuantizedConv,
        trained: &[f32],
        samples: &Samples,
        input_scale: f64,
    ) -> Result<Self> {
        let grams = samples.grams()?;
        let damping = target_damping(samples.sampler.activations.images());
        let weights = real_weights(conv, trained, input_scale, grams.len());
        let origins =
            weights.into_iter().zip(&grams).map(|(weights, gram)| Origin::new(weights, gram)).collect();
        let mut objective = Self { grams, targets: Vec::new(), raised: 1.0, input_scale, damping, origins };
        let ridges = objective.ridges(damping)?;
        objective.raised = ridges.iter().map(|ridge| ridge.raised).fold(1.0, f64::max);
        objective.targets = objective.solved(&ridges);
        for _ in 0..if samples.is_clamped() { ACTIVATION_ROUNDS } else { 0 } {
            let maps = objective.targets.iter().zip(&objective.grams);
            let now: Vec<Linear> = maps.map(|(target, gram)| Linear::new(target, gram)).collect();
            let wanted = samples.hidden_errors_allowed(&now)?;
            objective.grams.iter_mut().zip(wanted).for_each(|(gram, wanted)| gram.wanted = wanted);
            objective.targets = objective.solved(&ridges);
        }
        Ok(objective)
    }

    /// For each of `times`, the targets with so many times the damping, which keep closer to the trained weights.
    pub(super) fn damped_targets(&self, times: &[f64]) -> Result<Vec<Vec<Mat<f64>>>> {
        let damped = |times: &f64| Ok(self.solved(&self.ridges(self.damping * times)?));
        times.par_iter().map(damped).collect()
    }

    fn ridges(&self, damping: f64) -> Result<Vec<Ridge>> {
        self.grams.iter().map(|gram| Ridge::new(gram, damping)).collect()
    }

    fn solved(&self, ridges: &[Ridge]) -> Vec<Mat<f64>> {
        let groups = ridges.iter().zip(&self.origins).zip(&self.grams);
        groups.map(|((ridge, origin), gram)| ridge.target(origin, gram)).collect()
    }
}

impl Origin {
    fn new(weights: Mat<f64>, gram: &Gram) -> Self {
        let rounding: Vec<f64> = (0..weights.nrows()).map(|input| gram.inputs.rounding(input)).collect();
        let mut cross = product(&gram.inputs.covariance, &weights);
        for column in 0..cross.ncols() {
            let weights = weights.col_as_slice(column).iter().zip(&rounding);
            let cross = cross.col_as_slice_mut(column).iter_mut();
            cross.zip(weights).for_each(|(cross, (weight, rounding))| *cross -= rounding * weight);
        }
        Self { weights, cross }
    }
}

fn target_damping(images: usize) -> f64 {
    let [least, most] = TARGET_DAMPING;
    (DAMPING_IMAGES / images.max(1) as f64).clamp(least, most)
}

/// Weights in real output per integer step of the input, `inputs × outputs` for each of the channel groups.
fn real_weights(conv: &QuantizedConv, trained: &[f32], input_scale: f64, groups: usize) -> Vec<Mat<f64>> {
    let (inputs, outputs) = (conv.window.area() * conv.group_inputs, conv.outputs / groups.max(1));
    let weights = |group: usize| {
        filled(inputs, outputs, |input, output| {
            let output = group * outputs + output;
            f64::from(trained[output * inputs + input]) * conv.gain[output] * input_scale
        })
    };
    (0..groups).map(weights).collect()
}

/// `W + (H + λ)⁻¹ (C − H W)`: the ridge regression of the wanted outputs, started from the trained weights.
struct Ridge {
    solver: Cholesky,
    /// By how much the damping had to be raised.
    raised: f64,
}

impl Ridge {
    fn new(gram: &Gram, damping: f64) -> Result<Self> {
        let (solver, raised) = damped(&gram.inputs.covariance, damping, Cholesky::new)?;
        Ok(Self { solver, raised })
    }

    fn target(&self, origin: &Origin, gram: &Gram) -> Mat<f64> {
        let error = &gram.wanted.cross - &origin.cross;
        &origin.weights + self.solver.solved(error)
    }
}

/// Applies `use_` to `H + λ·mean diagonal`, raising the damping tenfold while it is not positive definite; yields
/// also by how much it was raised.
pub(super) fn damped<T>(
    hessian: &Mat<f64>,
    damping: f64,
    use_: impl Fn(Mat<f64>) -> Option<T>,
) -> Result<(T, f64)> {
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

#[cfg(test)]
pub(super) mod tests;
