use super::super::gram::{Inputs, Wanted};
use super::*;
use crate::graph::arbitrary::noise;
use std::cell::Cell;
use std::sync::Arc;

/// Covariances of `y = Wᵀx + c` for inputs of rank `rank`.
fn gram(inputs: usize, rank: usize, weights: &Mat<f64>) -> Gram {
    let values = noise(inputs * rank, 4);
    let x = Mat::from_fn(inputs, rank, |i, s| f64::from(values[i * rank + s]));
    let covariance = &x * x.transpose();
    let cross = &covariance * weights;
    let output = weights.transpose() * &cross;
    let means = noise(inputs, 9).into_iter().map(f64::from).collect();
    Gram {
        inputs: Arc::new(Inputs { covariance, means }),
        wanted: Wanted {
            means: vec![0.75; weights.ncols()],
            variances: (0..weights.ncols()).map(|o| output[(o, o)]).collect(),
            cross,
        },
    }
}

fn weights(inputs: usize, outputs: usize, seed: u64) -> Mat<f64> {
    let values = noise(inputs * outputs, seed);
    Mat::from_fn(inputs, outputs, |i, o| f64::from(values[i * outputs + o]))
}

fn target(trained: &Mat<f64>, gram: &Gram) -> Mat<f64> {
    Ridge::new(trained.clone(), gram, 0.01).unwrap().target(gram)
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

/// Where the inputs say nothing, the trained weights stay.
#[test]
fn covariances_of_low_rank_are_solved() {
    let truth = weights(12, 3, 1);
    for rank in [0, 1, 5] {
        let gram = gram(12, rank, &truth);
        let target = target(&weights(12, 3, 2), &gram);
        assert!(target.col_iter().all(|column| column.iter().all(|weight| weight.is_finite())));
        if rank == 0 {
            assert_eq!(target, weights(12, 3, 2));
        }
        let (problem, _) =
            damped(&gram.inputs.covariance, SPREAD_DAMPING, |hessian| Problem::new(hessian, 12, 4)).unwrap();
        let channels = Channel::ternary(&problem, (0..3).map(|output| target.col_as_slice(output)), 12, 4);
        let values: Vec<Vec<f64>> = channels.iter().map(Channel::values).collect();
        for (gain, bias) in affines(&values, &gram, &[0, 1, 2]) {
            assert!(gain.is_finite() && gain >= 0.0 && bias.is_finite());
        }
    }
}

#[test]
fn damping_rises_until_it_is_enough() {
    let mut hessian = Mat::<f64>::identity(3, 3);
    hessian[(2, 2)] = -0.05;
    let tried = Cell::new(0);
    let solve = |hessian: Mat<f64>| {
        tried.set(tried.get() + 1);
        Problem::new(hessian, 3, 2)
    };
    assert_eq!(damped(&hessian, 0.01, solve).unwrap().1, 10.0);
    assert_eq!(tried.get(), 2);
    hessian[(0, 0)] = f64::NAN;
    let error = damped(&hessian, 0.01, |hessian| Problem::new(hessian, 3, 2)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
}

#[test]
fn outputs_get_mean_and_variance_of_the_wanted_ones() {
    let truth = weights(12, 1, 1);
    let gram = gram(12, 60, &truth);
    let (problem, _) =
        damped(&gram.inputs.covariance, SPREAD_DAMPING, |hessian| Problem::new(hessian, 12, 8)).unwrap();
    let Channel { codes, scales, unit, .. } =
        Channel::ternary(&problem, [truth.col_as_slice(0)].into_iter(), 12, 8).remove(0);
    let value = |i: usize| unit * f64::from(codes[i]) * f64::from(scales[usize::from(i >= 8)]);
    let (gain, bias) = affines(&[(0..12).map(value).collect()], &gram, &[0])[0];
    let value = |i: usize| gain * value(i);
    let variance: f64 =
        (0..144).map(|at| value(at / 12) * value(at % 12) * gram.inputs.covariance[(at / 12, at % 12)]).sum();
    let mean: f64 = bias + (0..12).map(|i| value(i) * gram.inputs.means[i]).sum::<f64>();
    assert!((variance / gram.wanted.variances[0] - 1.0).abs() < 1e-12, "{variance}");
    assert!((mean - gram.wanted.means[0]).abs() < 1e-12, "{mean}");
    assert!((0.8..1.25).contains(&gain), "{gain}");
}

/// Four-bit codes leave less error in the outputs than the nearest codes do.
#[test]
fn compensated_four_bit_codes_beat_the_nearest() {
    for group in [None, Some(4), Some(5)] {
        let (mut fitted, mut nearest) = (0.0, 0.0);
        for seed in 1..20 {
            let truth = weights(24, 1, seed);
            let target = truth.col_as_slice(0);
            let gram = gram(24, 40, &truth);
            let covariance = &gram.inputs.covariance;
            let problem = |hessian| Problem::new(hessian, 12, group.unwrap_or(12));
            let (problem, _) = damped(covariance, SPREAD_DAMPING, problem).unwrap();
            let error = |channel: &Channel| -> f64 {
                let off: Vec<f64> = target.iter().zip(channel.values()).map(|(w, q)| w - q).collect();
                (0..24).map(|i| off[i] * dot(covariance.col_as_slice(i), &off)).sum()
            };
            let channel = Channel::int4(&problem, target, 12, group);
            assert!(channel.codes.iter().all(|code| (-7..=7).contains(code)));
            fitted += error(&channel);
            nearest += error(&Channel::nearest_int4(target, 12, group));
        }
        assert!(fitted < 0.9 * nearest, "{group:?}: {fitted} {nearest}");
    }
}

#[test]
fn outputs_that_go_the_wrong_way_are_silenced() {
    assert_eq!(gain(2.0, -1.0, 8.0), 0.0);
    assert_eq!(gain(0.0, 0.0, 8.0), 1.0);
    assert_eq!(gain(2.0, 1.0, 8.0), 2.0);
}

#[test]
fn few_images_damp_the_target_more() {
    assert_eq!([8, 250, 1000, 5000].map(target_damping), [0.1, 0.1, 0.025, 0.01]);
}
