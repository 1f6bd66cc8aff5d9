use super::*;
use crate::error::ErrorKind;
use ndarray::{Array2, Array4, ArrayD, IxDyn, array};
use proptest::prelude::*;

fn relative_error(weights: &[f32], group: usize) -> f64 {
    let weights = Array2::from_shape_vec((1, weights.len()), weights.to_vec()).unwrap();
    ternarize_tensor(weights.view(), &TernarizeOptions::group(group)).unwrap().relative_error()
}

/// Smallest error over all 3^N codes, each with its own best real scale.
fn brute_force(weights: &[f32]) -> f64 {
    let square: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    let codes = |mut index: usize| {
        (0..weights.len()).map(move |_| {
            let digit = index % 3;
            index /= 3;
            digit as f64 - 1.0
        })
    };
    let error = |index: usize| {
        let dot: f64 = codes(index).zip(weights).map(|(t, &w)| t * f64::from(w)).sum();
        let ones: f64 = codes(index).map(|t| t * t).sum();
        if dot > 0.0 && ones > 0.0 { square - dot * dot / ones } else { square }
    };
    (0..3usize.pow(weights.len() as u32)).map(error).fold(f64::INFINITY, f64::min)
}

proptest! {
    #[test]
    fn closed_form_is_the_optimum(weights in prop::collection::vec(-4.0f32..4.0, 1..=7)) {
        let solution = super::closed_form::solve(weights.iter().map(|&w| f64::from(w)), &mut Vec::new());
        let error: f64 = weights
            .iter()
            .map(|&w| (f64::from(w) - solution.scale * f64::from(solution.code(w))).powi(2))
            .sum();
        prop_assert!((error - brute_force(&weights)).abs() < 1e-9 * (1.0 + error));
    }

    #[test]
    fn ties_and_zeros_are_optimal_too(weights in prop::collection::vec(-2i8..=2, 1..=6)) {
        let weights: Vec<f32> = weights.into_iter().map(f32::from).collect();
        let solution = super::closed_form::solve(weights.iter().map(|&w| f64::from(w)), &mut Vec::new());
        let error: f64 = weights
            .iter()
            .map(|&w| (f64::from(w) - solution.scale * f64::from(solution.code(w))).powi(2))
            .sum();
        prop_assert!((error - brute_force(&weights)).abs() < 1e-9);
    }

    #[test]
    fn rounding_the_scale_costs_at_most_half_a_step(
        weights in prop::collection::vec(-4.0f32..4.0, 24),
        group in 1usize..9,
    ) {
        let tensor = Array4::from_shape_vec((2, 6, 1, 2), weights.clone()).unwrap();
        let t = ternarize_tensor(tensor.view(), &TernarizeOptions::group(group)).unwrap();
        for (output, codes) in t.stored_codes().chunks(12).enumerate() {
            let step = f64::from(t.factors()[output]);
            for (run, codes) in codes.chunks(6).enumerate() {
                for (place, codes) in codes.chunks(group).enumerate() {
                    let input = |i: usize| tensor[[output, place * group + i, 0, run]];
                    let exact = super::closed_form::solve((0..codes.len()).map(input).map(f64::from), &mut Vec::new());
                    let scale = t.scales()[[output, run * 6usize.div_ceil(group) + place]];
                    prop_assert!((f64::from(scale) * step - exact.scale).abs() <= step * 0.5000001);
                }
            }
        }
    }
}

#[test]
fn groups_are_input_channels_at_one_kernel_position() {
    let mut weights = Array4::<f32>::zeros((1, 4, 1, 2));
    weights.slice_mut(ndarray::s![0, .., 0, 0]).assign(&array![1.0, 1.0, 1.0, -1.0]);
    weights.slice_mut(ndarray::s![0, .., 0, 1]).assign(&array![0.5, -0.5, 0.0, 0.0]);
    let t = ternarize_tensor(weights.view(), &TernarizeOptions::group(4)).unwrap();
    assert_eq!(t.scales(), array![[127, 64]]);
    assert_eq!(
        t.codes().into_dimensionality::<ndarray::Ix4>().unwrap(),
        weights.mapv(|w| (2.0 * w) as i8 / 1.max((2.0 * w).abs() as i8))
    );
}

/// Deterministic numbers with the distribution that `transform` makes of pairs of uniform ones.
fn draws(count: usize, transform: impl Fn(f64, f64) -> f64) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..count).map(|_| transform(uniform(), uniform()) as f32).collect()
}

#[test]
fn expected_errors_of_known_distributions() {
    let gauss = draws(1 << 18, |u, v| (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos());
    let laplace = draws(1 << 18, |u, v| -u.ln() * if v < 0.5 { 1.0 } else { -1.0 });
    let groups = [2, 4, 8, 16, 32, 64];
    for (weights, expected) in [
        (gauss, [0.050, 0.100, 0.140, 0.164, 0.178, 0.185]),
        (laplace, [0.043, 0.095, 0.150, 0.197, 0.230, 0.246]),
    ] {
        for (group, expected) in groups.into_iter().zip(expected) {
            let error = relative_error(&weights, group);
            // The published figures have three decimals.
            assert!(
                (error - expected).abs() <= 0.02 * expected + 0.0005,
                "N={group}: {error} for {expected}"
            );
        }
    }
}

#[test]
fn a_group_of_one_keeps_every_weight_to_eight_bits() {
    let weights = array![[0.0f32, 1.0, -0.25, 0.5]];
    let t = ternarize_tensor(weights.view(), &TernarizeOptions::group(1)).unwrap();
    assert_eq!(t.scales(), array![[0, 127, 32, 64]]);
    assert_eq!(t.zero_share(), 0.25);
}

#[test]
fn constants_zeros_and_subnormals() {
    for value in [0.0f32, 1.0, -3.0, f32::MAX, f32::MIN_POSITIVE / 1024.0, 1e-45] {
        let weights = ArrayD::from_elem(IxDyn(&[3, 5, 2, 2]), value);
        let t = ternarize_tensor(weights.view(), &TernarizeOptions::group(4)).unwrap();
        for restored in t.dequantize() {
            let tolerance = f64::from(value).abs() * 0.01 + 1e-45;
            assert!((f64::from(restored) - f64::from(value)).abs() <= tolerance, "{restored} for {value}");
        }
    }
}

#[test]
fn a_short_last_group_has_its_own_scale() {
    let weights = array![[1.0f32, 1.0, 1.0, 1.0, 0.5]];
    let t = ternarize_tensor(weights.view(), &TernarizeOptions::group(4)).unwrap();
    assert_eq!(t.scales(), array![[127, 64]]);
    let whole = ternarize_tensor(weights.view(), &TernarizeOptions::group(usize::MAX)).unwrap();
    assert_eq!(whole.scales().dim(), (1, 1));
}

#[test]
fn numbers_that_are_not_finite_are_located() {
    for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut weights = Array4::<f32>::zeros((2, 3, 2, 2));
        weights[[1, 2, 0, 1]] = value;
        let error = ternarize_tensor(weights.view(), &TernarizeOptions::group(4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert_eq!(error.to_string(), format!("weight [1, 2, 0, 1] is {text}; weights must be finite"));
    }
}

#[test]
fn unusable_arguments_are_errors() {
    let vector = ndarray::Array1::<f32>::zeros(4);
    let error = ternarize_tensor(vector.view(), &TernarizeOptions::group(4)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    let error = ternarize_tensor(array![[1.0f32]].view(), &TernarizeOptions::group(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
}

#[test]
fn empty_tensors_are_empty() {
    let t = ternarize_tensor(Array2::<f32>::zeros((0, 4)).view(), &TernarizeOptions::group(4)).unwrap();
    assert_eq!((t.codes().len(), t.relative_error()), (0, 0.0));
    let t = ternarize_tensor(Array2::<f32>::zeros((3, 0)).view(), &TernarizeOptions::group(4)).unwrap();
    assert_eq!(t.scales().dim(), (3, 0));
}

/// The definition: every group by itself, sums one after another.
fn group_by_group(weights: &[f32], [outputs, inputs, positions]: [usize; 3], group: usize) -> Expected {
    let mut expected = Expected::default();
    let (mut error, mut total) = (0.0, 0.0);
    for output in 0..outputs {
        let weight = |position, input| weights[(output * inputs + input) * positions + position];
        let runs = (0..positions).flat_map(|position| (0..inputs).step_by(group).map(move |g| (position, g)));
        let groups: Vec<Vec<f32>> = runs
            .map(|(position, first)| {
                (first..inputs.min(first + group)).map(|i| weight(position, i)).collect()
            })
            .collect();
        let solved = |group: &Vec<f32>| solve(group.iter().map(|&w| f64::from(w)), &mut Vec::new());
        let largest = groups.iter().map(|group| solved(group).scale).fold(0.0, f64::max);
        let mut factor = if largest == 0.0 { 1.0 } else { (largest / 127.0) as f32 };
        if f64::from(factor) * 127.5 < largest {
            factor = factor.next_up();
        }
        let mut squares = [0.0; 2];
        for group in &groups {
            let solution = solved(group);
            let scale = (solution.scale / f64::from(factor)).round().min(127.0) as u8;
            for &weight in group {
                let code = if scale == 0 { 0 } else { solution.code(weight) };
                let near = f64::from(code) * (f64::from(scale) * f64::from(factor));
                squares[0] += (f64::from(weight) - near).powi(2);
                squares[1] += f64::from(weight).powi(2);
                expected.codes.push(code);
            }
            expected.scales.push(scale);
        }
        expected.factors.push(factor.to_bits());
        (error, total) = (error + squares[0], total + squares[1]);
    }
    expected.relative_error = f64::to_bits(if total > 0.0 { error / total } else { 0.0 });
    expected
}

#[derive(Debug, Default, PartialEq)]
struct Expected {
    codes: Vec<i8>,
    scales: Vec<u8>,
    factors: Vec<u32>,
    relative_error: u64,
}

impl Expected {
    fn check(weights: Vec<f32>, dims: [usize; 3], group: usize) {
        let expected = group_by_group(&weights, dims, group);
        let tensor = ndarray::Array3::from_shape_vec(dims, weights).unwrap();
        let t = ternarize_tensor(tensor.view(), &TernarizeOptions::group(group)).unwrap();
        let found = Expected {
            codes: t.stored_codes().to_vec(),
            scales: t.stored_scales().to_vec(),
            factors: t.factors().iter().map(|factor| factor.to_bits()).collect(),
            relative_error: t.relative_error().to_bits(),
        };
        assert_eq!(found, expected, "{dims:?}, groups of {group}");
    }
}

/// Ordinary, tied, zero, subnormal and huge weights.
fn mixed() -> impl Strategy<Value = f32> {
    let special = [0.0f32, -0.0, 1.0, -1.0, 0.5, 1e-45, -3e-42, f32::MIN_POSITIVE, f32::MAX, f32::MIN];
    prop_oneof![4 => -1.0f32..1.0, 2 => (-3i8..=3).prop_map(f32::from), 1 => prop::sample::select(special.to_vec())]
}

proptest! {
    #[test]
    fn groups_side_by_side_give_the_bits_of_groups_alone(
        dims in [1usize..5, 1usize..80, 1usize..4],
        group in prop_oneof![1usize..20, prop::sample::select(&[32usize, 64, 1000, usize::MAX][..])],
        seed in prop::collection::vec(mixed(), 1..400),
    ) {
        let weights = seed.iter().copied().cycle().take(dims.iter().product()).collect();
        Expected::check(weights, dims, group);
    }
}

#[test]
fn every_group_size_gives_the_bits_of_groups_alone() {
    let weights = draws(2 * 301 * 2, |u, v| (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos());
    let tied: Vec<f32> = weights.iter().map(|weight| (3.0 * weight).round()).collect();
    for group in (1..=66).chain([127, 128, 129, 255, 256, 257, 300, 301, 302]) {
        Expected::check(weights.clone(), [2, 301, 2], group);
        Expected::check(tied.clone(), [2, 301, 2], group);
    }
}

#[test]
fn many_tasks_give_the_bits_of_groups_alone() {
    let weights = draws(70 * 64 * 9, |u, v| (u - v) * 1e-3);
    [4, 6, 64].into_iter().for_each(|group| Expected::check(weights.clone(), [70, 64, 9], group));
}

#[test]
fn views_in_any_order_are_read_as_they_are() {
    let weights = draws(24, |u, v| u - v);
    let plain = Array2::from_shape_vec((4, 6), weights).unwrap();
    let transposed = plain.t().as_standard_layout().into_owned();
    let options = TernarizeOptions::group(4);
    assert_eq!(
        ternarize_tensor(plain.t(), &options).unwrap(),
        ternarize_tensor(transposed.view(), &options).unwrap()
    );
}
