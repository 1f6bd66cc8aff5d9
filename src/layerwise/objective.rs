//! What the outputs of a layer should be, and the weights that would yield them without any rounding.

use super::gram::{Gram, Linear, Samples};
use crate::error::{Error, ErrorKind, Result};
use crate::quantize::QuantizedConv;
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::{Llt, Solve};
use faer::{Accum, Mat, Par, Side};

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

    /// Inputs that are rounded make any regression shrink; the variance that rounding adds is not held against the trained
    /// weights.
    fn target(&self, gram: &Gram) -> Mat<f64> {
        let mut error = gram.wanted.cross.clone();
        let rounding: Vec<f64> = (0..self.trained.nrows()).map(|input| gram.inputs.rounding(input)).collect();
        for column in 0..error.ncols() {
            let trained = self.trained.col_as_slice(column).iter().zip(&rounding);
            let errors = error.col_as_slice_mut(column).iter_mut();
            errors.zip(trained).for_each(|(error, (weight, rounding))| *error += rounding * weight);
        }
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
