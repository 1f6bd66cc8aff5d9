use super::*;
use crate::graph::arbitrary::noise;
use crate::layerwise::gram::Inputs;
use crate::layerwise::objective::tests::{gram, target, weights};
use faer::Mat;
use std::sync::Arc;

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
            damped(&gram.inputs.covariance, SPREAD_DAMPING, |hessian| LeastSquares::new(hessian, 12, 4))
                .unwrap();
        let fitting = Fitting { precision: Precision::ternary(4), problem: &problem, run: 12, nest: None };
        let channels = fitting.channels(&[0, 1, 2], |output| target.col_as_slice(output));
        let values: Vec<Vec<f64>> = channels.iter().map(|channel| fitting.values(channel)).collect();
        for (gain, bias) in affines(&values, &gram) {
            assert!(gain.is_finite() && gain >= 0.0 && bias.is_finite());
        }
    }
}

#[test]
fn outputs_get_mean_and_variance_of_the_wanted_ones() {
    let truth = weights(12, 1, 1);
    let mut gram = gram(12, 60, &truth);
    let means = noise(12, 9).into_iter().map(f64::from).collect();
    gram.inputs = Arc::new(Inputs { covariance: gram.inputs.covariance.clone(), means, zero: 0.0 });
    let (problem, _) =
        damped(&gram.inputs.covariance, SPREAD_DAMPING, |hessian| LeastSquares::new(hessian, 12, 8)).unwrap();
    let fitting = Fitting { precision: Precision::ternary(8), problem: &problem, run: 12, nest: None };
    let values = fitting.values(&fitting.channels(&[0], |output| truth.col_as_slice(output))[0]);
    let (gain, bias) = affines(std::slice::from_ref(&values), &gram)[0];
    let value = |i: usize| gain * values[i];
    let variance: f64 =
        (0..144).map(|at| value(at / 12) * value(at % 12) * gram.inputs.covariance[(at / 12, at % 12)]).sum();
    let mean: f64 = bias + (0..12).map(|i| value(i) * gram.inputs.means[i]).sum::<f64>();
    assert!((variance / gram.wanted.variances[0] - 1.0).abs() < 1e-12, "{variance}");
    assert!((mean - gram.wanted.means[0]).abs() < 1e-12, "{mean}");
    assert!((0.8..1.25).contains(&gain), "{gain}");
}

fn error(covariance: &Mat<f64>, target: &[f64], values: &[f64]) -> f64 {
    let off: Vec<f64> = target.iter().zip(values).map(|(w, q)| w - q).collect();
    (0..off.len()).map(|i| off[i] * dot(covariance.col_as_slice(i), &off)).sum()
}

/// What fitting and the nearest approximation leave of the outputs of 19 random layers.
fn errors(name: &str) -> [f64; 2] {
    let precision: Precision = name.parse().unwrap();
    let (mut fitted, mut nearest) = (0.0, 0.0);
    for seed in 1..20 {
        let truth = weights(24, 1, seed);
        let target = truth.col_as_slice(0);
        let gram = gram(24, 40, &truth);
        let covariance = &gram.inputs.covariance;
        let problem = |hessian| LeastSquares::new(hessian, 12, precision.group().unwrap_or(12));
        let (problem, _) = damped(covariance, SPREAD_DAMPING, problem).unwrap();
        let fitting = Fitting { precision, problem: &problem, run: 12, nest: None };
        let channel = fitting.channels(&[0], |_| target).remove(0);
        assert!(channel.weights.levels.iter().all(|&level| precision.levels().iter().any(|l| l == level)));
        fitted += error(covariance, target, &fitting.values(&channel));
        let own = NearestChannel::new(target, 12, precision);
        let weights = Weights { precision, levels: own.levels, scales: own.scales };
        nearest += error(covariance, target, &fitting.values(&Channel { weights, unit: own.factor }));
    }
    [fitted, nearest]
}

/// Compensation leaves less error in the outputs than the nearest weights do, in every precision.
#[test]
fn compensated_codes_beat_the_nearest() {
    let names = [
        "int4",
        "int4:4",
        "int4:5/4",
        "int3",
        "int2",
        "pow2:3",
        "ternary:4",
        "ternary:4/4",
        "ternary:12/4",
        "ternary:4*2",
    ];
    for name in names {
        let [fitted, nearest] = errors(name);
        assert!(fitted < 0.9 * nearest, "{name}: {fitted} {nearest}");
    }
}

#[test]
fn four_bits_of_scales_lose_little_and_planes_gain() {
    let fitted = |name: &str| errors(name)[0];
    assert!(fitted("ternary:4/4") < 1.2 * fitted("ternary:4"));
    assert!(fitted("ternary:12/4") < 1.1 * fitted("ternary:12"));
    assert!(fitted("ternary:4*2") < 0.3 * fitted("ternary:4"));
    assert!(fitted("ternary:4*3") < 0.5 * fitted("ternary:4*2"));
}

#[test]
fn outputs_that_go_the_wrong_way_are_silenced() {
    assert_eq!(gain(2.0, -1.0, 8.0), 0.0);
    assert_eq!(gain(0.0, 0.0, 8.0), 1.0);
    assert_eq!(gain(2.0, 1.0, 8.0), 2.0);
}
