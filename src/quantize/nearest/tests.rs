//! Against brute force and published figures.

use super::*;
use crate::precision::Arrangement;
use ndarray::Array4;
use proptest::prelude::*;

fn of(text: &str) -> Precision {
    text.parse().unwrap()
}

/// In storage order.
fn dequantized((weights, factors): &(Weights, Vec<f64>), arrangement: Arrangement) -> Vec<f64> {
    let integers = arrangement.expand(weights.precision, &weights.levels, &weights.scales);
    let per_channel = arrangement.channel_len();
    integers.iter().enumerate().map(|(index, &q)| f64::from(q) * factors[index / per_channel]).collect()
}

fn squares(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

proptest! {
    #[test]
    fn one_step_is_the_best(values in prop::collection::vec(-2.0f32..2.0, 1..24), name in 0usize..4) {
        let weights = Array4::from_shape_vec((1, values.len(), 1, 1), values.clone()).unwrap();
        let precision = of(["int4", "int3", "pow2:3", "pow2:4"][name]);
        let int4 = nearest(weights.view(), precision);
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let arrangement = Arrangement { outputs: 1, positions: 1, inputs: values.len() };
        let found = squares(&values, &dequantized(&int4, arrangement));
        let largest = values.iter().fold(0.0f64, |l, v| l.max(v.abs()));
        let all = Nearest::new(values.len(), precision);
        let many = (1..=6000).map(|at| all.error(&values, largest * at as f64 / 3000.0));
        let best = many.fold(f64::INFINITY, f64::min);
        prop_assert!(found <= best + 1e-9, "{} against {}", found, best);
    }

    #[test]
    fn codes_and_scales_are_valid_and_groups_do_not_harm(
        values in prop::collection::vec(-2.0f32..2.0, 48),
        group in 1usize..10,
        narrow in 0usize..2,
    ) {
        let weights = Array4::from_shape_vec((2, 6, 2, 2), values).unwrap();
        let with_groups = of(&format!("int4:{group}{}", ["", "/4"][narrow]));
        let (one, many) = (nearest(weights.view(), of("int4")), nearest(weights.view(), with_groups));
        prop_assert!(one.0.scales.is_empty() && many.0.scales.len() == 8 * 6usize.div_ceil(group));
        prop_assert!(one.0.levels.iter().chain(&many.0.levels).all(|level| (-7..=7).contains(level)));
        prop_assert!(many.0.scales.iter().all(|scale| *scale <= [18, 15][narrow]));
        let stored: Vec<f64> =
            weights.view().permuted_axes([0, 2, 3, 1]).iter().map(|&w| f64::from(w)).collect();
        let arrangement = Arrangement { outputs: 2, positions: 4, inputs: 6 };
        let error = |found: &(Weights, Vec<f64>)| squares(&stored, &dequantized(found, arrangement));
        prop_assert!(error(&many) <= error(&one) + 1e-9, "{} against {}", error(&many), error(&one));
    }

    #[test]
    fn every_plane_leaves_less(values in prop::collection::vec(-2.0f32..2.0, 48), group in 1usize..10) {
        let weights = Array4::from_shape_vec((2, 6, 2, 2), values).unwrap();
        let stored: Vec<f64> = weights.view().permuted_axes([0, 2, 3, 1]).iter().map(|&w| f64::from(w)).collect();
        let arrangement = Arrangement { outputs: 2, positions: 4, inputs: 6 };
        let error = |planes: &str| {
            squares(&stored, &dequantized(&nearest(weights.view(), of(&format!("ternary:{group}{planes}"))), arrangement))
        };
        let errors = ["", "*2", "*3"].map(error);
        prop_assert!(errors[1] < 0.75 * errors[0] + 1e-2 && errors[2] < 0.75 * errors[1] + 1e-2, "{errors:?}");
    }
}

#[test]
fn expected_error_of_gaussian_weights() {
    // Max, Quantizing for minimum distortion, 1960, table II: 14 levels leave 0.0146 of the variance, 16 leave 0.01154.
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut gauss = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    let values: Vec<f64> = (0..20_000).map(|_| gauss()).collect();
    let found = Nearest::new(values.len(), of("int4")).whole(&values);
    let relative = found.error / values.iter().map(|value| value * value).sum::<f64>();
    assert!((0.0115..0.0146).contains(&relative), "{relative}");
}

#[test]
fn zeros_and_subnormals() {
    for value in [0.0f32, 1e-45, f32::MAX] {
        for name in ["int4", "int4:2", "int8", "int6", "pow2:4", "ternary:2*2"] {
            let found = nearest(Array4::from_elem((2, 3, 1, 1), value).view(), of(name));
            let back = dequantized(&found, Arrangement { outputs: 2, positions: 1, inputs: 3 });
            assert!(back.iter().all(|b| (b - f64::from(value)).abs() <= 0.01 * f64::from(value)), "{back:?}");
        }
    }
}

#[test]
fn eight_bits_have_their_own_factor_and_storage_order() {
    let weights =
        Array4::from_shape_vec((2, 2, 1, 2), vec![1.0, 0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    let (weights, factors) = nearest(weights.view(), of("int8"));
    assert_eq!(weights.levels, [127, -127, 64, 0, 0, 0, 0, 0]);
    assert_eq!(factors, [1.0 / 127.0, 1.0]);
}
