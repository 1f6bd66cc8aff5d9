use super::*;
use crate::choices::noise;
use crate::format::Quantizer;
use crate::graph::arbitrary::node_id;
use crate::precision::Precision;
use crate::quantize::{QuantizedConv, closed_form};
use crate::tensor::Window;
use ndarray::Array4;

const QUANTIZER: Quantizer = Quantizer { scale: 0.25, zero_point: 3, max: 15 };

/// Straight through the rounding in PyTorch (double precision, autograd): `s·(r + (round(r) − r).detach())` with
/// `r = clamp(x / s, −3, 12)`, of which the sum is weighted by the gradients below.
#[test]
fn activations_and_their_gradients_equal_pytorch() {
    let quantizer = ActivationQuantizer::new(&QUANTIZER);
    let values = [0.3, -0.6, 5.0, -2.0, 0.11, 1.99];
    let gradient = [1.0, -2.0, 0.5, 3.0, -1.0, 0.25];
    assert_eq!(quantizer.apply(&values), [0.25, -0.5, 3.0, -0.75, 0.0, 2.0]);
    assert_eq!(quantizer.backward(&values, &gradient), [1.0, -2.0, 0.0, 0.0, -1.0, 0.25]);
    // 1·(1 − 1.2) − 2·(−2 + 2.4) + 0.5·12 + 3·(−3) − 1·(0 − 0.44) + 0.25·(8 − 7.96)
    assert!((quantizer.step_gradient(&values, &gradient) + 3.55).abs() < 1e-5);
}

#[test]
fn tables_have_the_slope_between_codes() {
    let outputs: Vec<f32> = (0..256u16).map(|code| ((f32::from(code) - 3.0) * 0.25).powi(2)).collect();
    let lookup = Lookup { outputs, quantizer: QUANTIZER };
    let shape = crate::tensor::Shape::flat(4);
    let values = [0.0, 1.0, -0.5, 3.0];
    assert_eq!(lookup.apply(&values, shape), [0.0, 1.0, 0.25, 9.0]);
    // At the last code only the one below counts.
    assert_eq!(lookup.backward(&values, shape, &[1.0; 4]), [0.0, 2.0, -1.0, 5.75]);
}

pub(super) fn conv(precision: Precision, trained: &[f32]) -> QuantizedConv {
    let (outputs, group_inputs) = (3, 10);
    let weights = Array4::from_shape_vec((outputs, group_inputs, 2, 2), trained.to_vec()).unwrap();
    let precision = precision.within(group_inputs);
    let (weights, factors) = closed_form(weights.view(), precision).unwrap();
    QuantizedConv {
        nest: None,
        weights,
        factors,
        gain: vec![1.0; outputs],
        bias: vec![0.0; outputs],
        window: Window::new([2, 2]),
        groups: 1,
        group_inputs,
        outputs,
        clamp: [f32::NEG_INFINITY, f32::INFINITY],
        logits: false,
        source: node_id(0),
        choice: crate::plan::Choice { precision, reason: crate::plan::Reason::Default },
    }
}

const PRECISIONS: [&str; 7] =
    ["ternary:4", "ternary:4/4", "ternary:64/4*2", "int3", "int4:4", "int8", "pow2:4"];

#[test]
fn weights_start_at_their_codes() {
    let trained = noise(120, 7);
    for precision in PRECISIONS {
        let conv = conv(precision.parse().unwrap(), &trained);
        // In storage order or not: where weights start must not change what they are rounded to.
        let quantizer = WeightQuantizer::new(&conv, &trained);
        assert_eq!(quantizer.weights(), conv.weights, "{precision}");
        let real = conv.expand();
        let expected: Vec<f32> = real
            .chunks_exact(40)
            .zip(&conv.factors)
            .flat_map(|(channel, factor)| channel.iter().map(move |&w| *factor as f32 * f32::from(w)))
            .collect();
        assert_eq!(quantizer.expand(), expected, "{precision}");
    }
}

/// As if rounding were not there, latent weights and scales would change the real weights by their products.
#[test]
fn gradients_pass_straight_through_the_rounding() {
    let trained = noise(120, 8);
    for precision in PRECISIONS {
        let conv = conv(precision.parse().unwrap(), &trained);
        let quantizer = WeightQuantizer::new(&conv, &trained);
        let gradient = noise(120, 9);
        let [latent, scales] = quantizer.backward(&gradient);
        let weighted = |quantizer: &WeightQuantizer| -> f64 {
            quantizer.expand().iter().zip(&gradient).map(|(w, dw)| f64::from(*w) * f64::from(*dw)).sum()
        };
        let before = weighted(&quantizer);
        // A whole step in a latent weight or a scale is what rounding shows.
        for (place, (gradient, level)) in latent.iter().zip(quantizer.weights().levels).enumerate() {
            let mut moved = quantizer.clone();
            if level.unsigned_abs() > 1 || precision == "pow2:4" {
                continue;
            }
            let step = f32::from(level.signum().max(0) * 2 - 1);
            moved.latent[place] -= step;
            let difference = before - weighted(&moved);
            if moved.weights().levels[place] != level && *gradient != 0.0 {
                let expected = f64::from(gradient * step);
                assert!(
                    (difference - expected).abs() < 1e-4,
                    "{precision}: {difference} instead of {expected}"
                );
            }
        }
        for (place, gradient) in scales.iter().enumerate() {
            let mut moved = quantizer.clone();
            moved.scales[place] -= 1.0;
            if moved.scales[place] >= 0.0 {
                let difference = before - weighted(&moved);
                assert!((difference - f64::from(*gradient)).abs() < 1e-3, "{precision}");
            }
        }
    }
}

/// A weight beyond the outermost level moves back but not further out.
#[test]
fn weights_do_not_run_away() {
    let conv = conv("ternary:4".parse().unwrap(), &noise(120, 10));
    let mut quantizer = WeightQuantizer::new(&conv, &[]);
    quantizer.latent.fill(1.6);
    let [out, _] = quantizer.backward(&vec![-1.0; 120]);
    let [back, _] = quantizer.backward(&vec![1.0; 120]);
    assert!(out.iter().all(|&dw| dw == 0.0) && back.iter().any(|&dw| dw > 0.0));
}

fn activations(bits: u32, zero_point: u8) -> SteppedCodes {
    SteppedCodes::of(&Quantizer { scale: 1.0, zero_point, max: (2u32.pow(bits) - 1) as u8 })
}

/// Rounding passes gradients straight through as if codes stayed: values and step scaled together scale what they are rounded
/// to (Euler's identity).
#[test]
fn gradients_of_values_and_step_add_up_to_what_is_rounded() {
    let (values, gradient) = (noise(200, 11), noise(200, 12));
    for bits in 2..=8 {
        let inputs = [0, 1].map(|zero_point| activations(bits, zero_point));
        for codes in [SteppedCodes::of_weights(bits as u8)].into_iter().chain(inputs) {
            let step = codes.start_of_weights(&values);
            let quantizer = codes.with(step);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let sum = f64::from(step * quantizer.step_gradient(&values, &gradient))
                + dot(&values, &quantizer.backward(&values, &gradient));
            let expected = dot(&quantizer.apply(&values), &gradient);
            assert!((sum - expected).abs() < 1e-3, "{codes:?}: {sum} instead of {expected}");
        }
    }
}

/// Beyond the outermost level, where nothing is rounded, the step moves values as differences say.
#[test]
fn beyond_all_levels_steps_have_true_gradients() {
    let values = [5.0, -7.0, 9.0];
    let gradient = [1.0, 0.5, -0.25];
    let codes = SteppedCodes::of_weights(3);
    let weighted = |step: f32| -> f32 {
        codes.with(step).apply(&values).iter().zip(&gradient).map(|(q, dq)| q * dq).sum()
    };
    let difference = (weighted(0.51) - weighted(0.49)) / 0.02;
    assert!((codes.with(0.5).step_gradient(&values, &gradient) - difference).abs() < 1e-3);
}

/// The quantizer of the authors' code, in PyTorch in double precision: `s·(r + (round(r) − r).detach())` with
/// `r = clamp(x / s, −Qn, Qp)`, autograd of its sum weighted by 1, 2, …, and the factor `1/√(Qp·numel)`. (Between the outermost level and half a step
/// beyond it the two differ: there the code is still the nearest, and the gradient passes.)
#[test]
fn learned_steps_equal_pytorch() {
    let values = [0.8, -0.35, 0.12, -1.45, 0.55, 2.2];
    let gradient = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let found = |codes: SteppedCodes, step: f32| {
        codes.gradient_scale(6) * codes.with(step).step_gradient(&values, &gradient)
    };
    for (codes, step, expected) in [
        (SteppedCodes::of_weights(3), 0.4, LSQ[0]),
        (activations(2, 0), 0.6, LSQ[1]),
        (activations(3, 4), 0.3, LSQ[2]),
    ] {
        assert!((found(codes, step) - expected).abs() < 1e-5, "{codes:?} {}", found(codes, step));
    }
    // max(|mean − 3σ|, |mean + 3σ|) / 2^(b − 1).
    assert!((SteppedCodes::of_weights(3).start_of_weights(&values) - LSQ[3]).abs() < 1e-5);
}

const LSQ: [f32; 4] = [0.701_214_2, 4.120_861, 0.542_115_2, 0.913_029_9];
