use super::*;
use crate::choices::noise;

fn quantizer(
    parametrization: Parametrization,
    is_signed: bool,
    parameters: [f32; 2],
) -> ParametrizedQuantizer {
    ParametrizedQuantizer {
        parametrization,
        is_signed,
        parameters: parameters.to_vec(),
        is_fixed: false,
        steps: [1.0 / REACH, 1.0],
        bound: f32::INFINITY,
    }
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * b.abs().max(1.0);
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// The cases of `fixtures/train/make_quantizers.py`.
#[test]
fn levels_and_gradients_equal_pytorch() {
    let bytes = include_bytes!("../../../../fixtures/train/quantizers.safetensors");
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    for name in ["U1", "U2", "U3", "u1", "u2", "u3", "P1", "P2", "P3"] {
        let stored = |key: &str| -> Vec<f32> {
            bytemuck::pod_collect_to_vec(file.tensor(&format!("{name}.{key}")).unwrap().data())
        };
        let (x, p, dy) = (stored("x"), stored("p"), stored("dy"));
        let own = quantizer(name.parse().unwrap(), name != name.to_lowercase(), [p[0], p[1]]);
        assert!(close(&own.apply(&x), &stored("y")), "{name}: {:?}", own.grid());
        assert!(close(&own.backward(&x, &dy), &stored("dx")), "{name}");
        let found = own.parameter_gradient(&x, &dy);
        assert!(close(&found, &stored("dp")), "{name}: {found:?} instead of {:?}", stored("dp"));
    }
}

/// `q = (2^(b − 1) − 1)·d`, one bit less without sign; of powers `q = 2^(2^(b − 1) − 2)·p`, as one code stands for zero.
#[test]
fn bits_follow_from_the_levels() {
    let bits = |parametrization, is_signed, parameters| {
        let grid = quantizer(parametrization, is_signed, parameters).grid();
        (grid.bits(), grid.count, grid.range())
    };
    assert_eq!(bits(Parametrization::U3, true, [0.25, 0.25]), (2, 1, 0.25));
    assert_eq!(bits(Parametrization::U3, true, [0.25, 0.5]), (3, 2, 0.5));
    assert_eq!(bits(Parametrization::U3, true, [0.25, 0.75]), (3, 3, 0.75));
    assert_eq!(bits(Parametrization::U3, true, [0.25, 1.0]), (4, 4, 1.0));
    assert_eq!(bits(Parametrization::U3, false, [0.25, 0.25]), (1, 1, 0.25));
    assert_eq!(bits(Parametrization::U3, false, [0.25, 3.75]), (4, 15, 3.75));
    // The step is rounded to a power of two by its logarithm, the range to a multiple of it.
    assert_eq!(bits(Parametrization::U3, true, [0.34, 0.85]), (3, 3, 0.75));
    assert_eq!(bits(Parametrization::U3, true, [0.36, 0.85]), (3, 2, 1.0));
    assert_eq!(bits(Parametrization::U1, true, [3.4, 0.25]), (3, 3, 0.75));
    assert_eq!(bits(Parametrization::U1, false, [3.6, 0.25]), (4, 15, 3.75));
    assert_eq!(bits(Parametrization::U2, true, [3.0, 0.8]), (3, 3, 0.75));
    assert_eq!(bits(Parametrization::P3, true, [0.25, 0.25]), (2, 1, 0.25));
    assert_eq!(bits(Parametrization::P3, true, [0.25, 1.0]), (3, 3, 1.0));
    assert_eq!(bits(Parametrization::P3, true, [0.25, 2.0]), (4, 4, 2.0));
    assert_eq!(bits(Parametrization::P1, true, [4.0, 0.25]), (4, 7, 16.0));
    assert_eq!(bits(Parametrization::P2, true, [4.0, 16.0]), (4, 7, 16.0));
    // No more than the runtime holds.
    assert_eq!(bits(Parametrization::U3, true, [0.25, 100.0]), (8, 127, 31.75));
    assert_eq!(bits(Parametrization::P3, true, [0.25, 100.0]), (4, 7, 16.0));
}

/// Uniform levels are the nearest ones, powers of two the nearest by their logarithms, and what is packed has the same.
#[test]
fn levels_are_the_nearest() {
    for (parametrization, parameters) in [
        (Parametrization::U3, [0.25, 0.25]),
        (Parametrization::U3, [0.125, 0.7]),
        (Parametrization::P3, [0.125, 0.5]),
        (Parametrization::P3, [0.0625, 2.0]),
    ] {
        let own = quantizer(parametrization, true, parameters);
        let grid = own.grid();
        let precision = if parametrization.is_of_powers() {
            crate::precision::Precision::powers(grid.bits())
        } else {
            crate::precision::Precision::int(grid.bits())
        };
        let within = |level: &f32| level.abs() <= grid.top();
        let levels: Vec<f32> = precision.levels().iter().map(f32::from).filter(within).collect();
        for value in noise(500, 3) {
            let ratio = value / grid.step;
            let distance = |level: f32| {
                let linear = (level - ratio).abs();
                let by_logarithm = (level.abs().log2() - ratio.abs().log2()).abs();
                let is_far = ratio.abs() > 1.0 && level * ratio > 0.0;
                match (parametrization.is_of_powers(), is_far) {
                    (true, true) => by_logarithm,
                    (true, false) if ratio.abs() > 1.0 => f32::INFINITY,
                    _ => linear,
                }
            };
            let nearest =
                levels.iter().copied().min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
            assert_eq!(grid.level(value), nearest, "{parametrization} {value} {grid:?}");
        }
    }
}

/// Step and range as their parameters say before anything is rounded.
fn step_and_range(parametrization: Parametrization, sign: f64, [first, second]: [f64; 2]) -> [f64; 2] {
    let half = (first - sign).exp2();
    match parametrization {
        Parametrization::U1 => [second, (half - 1.0) * second],
        Parametrization::U2 => [second / (half - 1.0), second],
        Parametrization::U3 | Parametrization::P3 => [first, second],
        Parametrization::P1 => [second, (half - 2.0).exp2() * second],
        Parametrization::P2 => [second / (half - 2.0).exp2(), second],
    }
}

fn real_bits(parametrization: Parametrization, sign: f64, [step, range]: [f64; 2]) -> f64 {
    let count = if parametrization.is_of_powers() { (range / step).log2() + 1.0 } else { range / step };
    (count + 1.0).log2() + sign
}

/// Where rounding changes nothing, gradients of parameters are the derivatives of smooth functions.
#[test]
fn gradients_of_parameters_equal_differences() {
    for (parametrization, is_signed, parameters) in [
        (Parametrization::U1, true, [3.0, 0.25]),
        (Parametrization::U1, false, [3.0, 0.25]),
        (Parametrization::U2, true, [3.0, 0.75]),
        (Parametrization::U2, false, [2.0, 0.75]),
        (Parametrization::U3, true, [0.25, 0.75]),
        (Parametrization::U3, false, [0.25, 3.75]),
        (Parametrization::P1, true, [3.0, 0.25]),
        (Parametrization::P2, true, [3.0, 1.0]),
        (Parametrization::P3, true, [0.25, 1.0]),
    ] {
        let sign = if is_signed { 1.0 } else { 0.0 };
        let own = quantizer(parametrization, is_signed, parameters);
        let weights = [0.7, -0.4];
        let value = |parameters| {
            let [step, range] = step_and_range(parametrization, sign, parameters);
            [weights[0] * step + weights[1] * range, real_bits(parametrization, sign, [step, range])]
        };
        let found = [own.of_parameters(weights.map(|weight| weight as f32)), own.bits_gradient()];
        for place in 0..2 {
            let moved = |by: f64| {
                let mut parameters = parameters.map(f64::from);
                parameters[place] += by;
                value(parameters)
            };
            let (more, less) = (moved(1e-5), moved(-1e-5));
            for (of, found) in found.iter().enumerate() {
                let expected = ((more[of] - less[of]) / 2e-5) as f32;
                let message = format!("{parametrization} {of} {place}: {} {expected}", found[place]);
                assert!((found[place] - expected).abs() < 1e-3 * expected.abs().max(1.0), "{message}");
            }
        }
    }
}

#[test]
fn parameters_stay_in_their_ranges() {
    for parametrization in Parametrization::ALL {
        for (seed, is_signed) in [(0, true), (1, true), (2, parametrization.is_of_powers())] {
            let start = QuantizerStart { bits: 4, is_signed, step: 0.25, bound: 64.0 };
            let mut own = ParametrizedQuantizer::new(parametrization, start);
            assert_eq!((own.grid().bits(), own.grid().step), (4, 0.25), "{parametrization}");
            for scale in [1.0, 20.0, -20.0, 1000.0] {
                let wild = noise(2, seed);
                own.parameters.iter_mut().zip(wild).for_each(|(value, wild)| *value += scale * wild);
                own.settle();
                let grid = own.grid();
                let least = 1 + u8::from(is_signed);
                assert!((least..=parametrization.most_bits()).contains(&grid.bits()), "{parametrization}");
                assert!(grid.step.is_finite() && grid.step > 0.0 && grid.count > 0);
                let before = own.clone();
                own.settle();
                assert_eq!(own, before);
            }
        }
    }
}

#[test]
fn fixed_bits_stay() {
    for parametrization in Parametrization::ALL {
        let start = QuantizerStart { bits: 3, is_signed: true, step: 0.25, bound: f32::INFINITY };
        let mut own = ParametrizedQuantizer::new(parametrization, start);
        let before = own.grid();
        own.fix_bits();
        assert_eq!(own.grid(), before, "{parametrization}");
        let values = noise(50, 1);
        let [of_bits, of_step] = own.parameter_gradient(&values, &noise(50, 2));
        assert!(of_bits == 0.0 && of_step != 0.0 && own.bits_gradient() == [0.0; 2]);
        own.parameters[1] *= 3.0;
        own.settle();
        assert_eq!((own.grid().bits(), own.grid().step), (3, 1.0), "{parametrization}");
    }
}

/// A uniform quantizer of weights spread like a normal distribution: ½ of 1.25 times the spread for two bits.
#[test]
fn the_nearest_step_is_found() {
    let normal: Vec<f32> = noise(6000, 5).chunks(12).map(|values| values.iter().sum::<f32>() * 0.2).collect();
    let steps = [2, 3, 4].map(|bits| nearest_step(Parametrization::U3, bits, &normal));
    assert_eq!(steps, [0.5, 0.25, 0.125]);
    assert!(nearest_step(Parametrization::P3, 4, &normal) < 0.125);
    assert!(nearest_step(Parametrization::U3, 4, &[0.0; 4]).is_finite());
}

#[test]
fn names_survive_text() {
    for parametrization in Parametrization::ALL {
        assert_eq!(parametrization.to_string().parse::<Parametrization>().unwrap(), parametrization);
    }
    assert_eq!("p2".parse::<Parametrization>().unwrap(), Parametrization::P2);
    assert!("U4".parse::<Parametrization>().unwrap_err().to_string().contains("'U4'; use U1"));
}
