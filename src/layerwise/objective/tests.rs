//! Targets and their damping.

use super::super::gram::{Inputs, Wanted};
use super::super::spread::LeastSquares;
use super::*;
use crate::graph::arbitrary::noise;
use std::cell::Cell;
use std::sync::Arc;

/// Covariances of `y = Wᵀx + c` for inputs of rank `rank`.
pub(in crate::layerwise) fn gram(inputs: usize, rank: usize, weights: &Mat<f64>) -> Gram {
    let values = noise(inputs * rank, 4);
    let x = Mat::from_fn(inputs, rank, |i, s| f64::from(values[i * rank + s]));
    let covariance = &x * x.transpose();
    let cross = &covariance * weights;
    let output = weights.transpose() * &cross;
    // Inputs that vary around zero do not show how often they are rounded.
    let means = vec![0.0; inputs];
    Gram {
        inputs: Arc::new(Inputs { covariance, means, zero: 0.0 }),
        wanted: Wanted {
            means: vec![0.75; weights.ncols()],
            variances: (0..weights.ncols()).map(|o| output[(o, o)]).collect(),
            cross,
        },
    }
}

pub(in crate::layerwise) fn weights(inputs: usize, outputs: usize, seed: u64) -> Mat<f64> {
    let values = noise(inputs * outputs, seed);
    Mat::from_fn(inputs, outputs, |i, o| f64::from(values[i * outputs + o]))
}

pub(in crate::layerwise) fn target(trained: &Mat<f64>, gram: &Gram) -> Mat<f64> {
    Ridge::new(gram, 0.01).unwrap().target(&Origin::new(trained.clone(), gram), gram)
}

#[test]
fn the_target_leaves_what_is_right_and_corrects_what_is_wrong() {
    let truth = weights(6, 2, 1);
    let gram = gram(6, 40, &truth);
    let distance = |target: &Mat<f64>| (target - &truth).norm_l2();
    assert!(distance(&target(&truth, &gram)) < 1e-12);
    let other = weights(6, 2, 2);
    assert!(distance(&target(&other, &gram)) < 0.03 * distance(&other));
}

/// Inputs of `x + e`, e being what rounding adds: a regression would shrink, the target does not.
#[test]
fn rounding_of_the_inputs_does_not_shrink_the_target() {
    let truth = weights(6, 2, 1);
    let mut gram = gram(6, 40, &truth);
    let means = vec![1000.0; 6];
    let mut covariance = gram.inputs.covariance.clone();
    let inputs = Inputs { covariance: covariance.clone(), means: means.clone(), zero: 0.0 };
    (0..6).for_each(|input| covariance[(input, input)] += inputs.rounding(input));
    assert!((inputs.rounding(0) - 1.0 / 12.0).abs() < 1e-4);
    gram.inputs = Arc::new(Inputs { covariance, means, zero: 0.0 });
    assert!((target(&truth, &gram) - &truth).norm_l2() < 1e-4);
}

#[test]
fn damping_rises_until_it_is_enough() {
    let mut hessian = Mat::<f64>::identity(3, 3);
    hessian[(2, 2)] = -0.05;
    let tried = Cell::new(0);
    let solve = |hessian: Mat<f64>| {
        tried.set(tried.get() + 1);
        LeastSquares::new(hessian, 3, 2)
    };
    assert_eq!(damped(&hessian, 0.01, solve).unwrap().1, 10.0);
    assert_eq!(tried.get(), 2);
    hessian[(0, 0)] = f64::NAN;
    let error = damped(&hessian, 0.01, |hessian| LeastSquares::new(hessian, 3, 2)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
}

#[test]
fn few_images_damp_the_target_more() {
    assert_eq!([8, 250, 1000, 5000].map(target_damping), [0.1, 0.1, 0.025, 0.01]);
}

#[test]
fn more_damping_keeps_targets_nearer_to_the_trained_weights() {
    let gram = gram(6, 40, &weights(6, 70, 1));
    let trained = weights(6, 70, 2);
    let origins = vec![Origin::new(trained.clone(), &gram)];
    let objective = Objective {
        grams: vec![gram],
        targets: Vec::new(),
        raised: 1.0,
        input_scale: 1.0,
        damping: 0.01,
        origins,
    };
    let times = [1.0, 10.0, 100.0, 1e4];
    let targets = objective.damped_targets(&times).unwrap();
    let distances: Vec<f64> = targets.iter().map(|target| (&target[0] - &trained).norm_l2()).collect();
    assert!(distances.is_sorted_by(|a, b| a > b) && distances[3] < 0.1 * distances[0], "{distances:?}");
    for (times, targets) in times.iter().zip(&targets) {
        let alone = Ridge::new(&objective.grams[0], 0.01 * times).unwrap();
        assert_eq!(targets[0], alone.target(&objective.origins[0], &objective.grams[0]));
    }
}
