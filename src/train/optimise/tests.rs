use super::*;

const GRADIENTS: [[f32; 3]; 3] = [[0.1, -0.4, 2.0], [0.3, 0.2, -1.0], [-0.5, 0.1, 0.25]];

fn after(method: Descent, decay: f32, units: &[f32]) -> Vec<f32> {
    let mut values: Vec<f32> = [1.0, -2.0, 0.5].to_vec();
    let mut optimiser = Optimiser::new(method);
    for gradient in &GRADIENTS {
        let parameter = Parameter { values: &mut values, gradient, units, rate: 1.0, decay };
        optimiser.step(&mut [parameter], 0.1);
    }
    values
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// `torch.optim.SGD(lr=0.1, momentum=0.9)` and `torch.optim.AdamW(lr=0.1, weight_decay=0.02)` in double precision.
#[test]
fn optimisers_equal_pytorch() {
    let found = after(Descent::Sgd { momentum: 0.9 }, 0.0, &[1.0]);
    assert!(close(&found, &[0.9659, -1.9396, 0.123]), "{found:?}");
    let found = after(Descent::ADAM_W, 0.02, &[1.0]);
    assert!(close(&found, &[0.818_908_5, -1.855_704_3, 0.343_260_7]), "{found:?}");
}

/// With units a parameter changes as `unit·v` does if `v` is learned.
#[test]
fn rates_are_in_units_of_the_parameter() {
    let units = [2.0, 0.5, 4.0];
    let start = [1.0, -2.0, 0.5];
    for method in [Descent::Sgd { momentum: 0.5 }, Descent::ADAM_W] {
        let found = after(method, 0.0, &units);
        let mut values: Vec<f32> = start.iter().zip(units).map(|(value, unit)| value / unit).collect();
        let mut optimiser = Optimiser::new(method);
        for gradient in &GRADIENTS {
            let gradient: Vec<f32> = gradient.iter().zip(units).map(|(dy, unit)| dy * unit).collect();
            let parameter =
                Parameter { values: &mut values, gradient: &gradient, units: &[1.0], rate: 1.0, decay: 0.0 };
            optimiser.step(&mut [parameter], 0.1);
        }
        let expected: Vec<f32> = values.iter().zip(units).map(|(value, unit)| value * unit).collect();
        assert!(close(&found, &expected), "{found:?} {expected:?}");
    }
}

#[test]
fn clipping_keeps_the_direction() {
    let (mut a, mut b) = ([3.0f32, 0.0], [4.0f32]);
    clip(&mut [&mut a, &mut b], 1.0);
    assert!(close(&a, &[0.6, 0.0]) && close(&b, &[0.8]));
    clip(&mut [&mut a, &mut b], 2.0);
    assert!(close(&a, &[0.6, 0.0]) && close(&b, &[0.8]));
}

#[test]
fn schedules_go_down() {
    let steps = RateSchedule::Steps(vec![0.5, 0.75]);
    assert_eq!([0.0, 0.49, 0.5, 0.8].map(|at| (1e9 * steps.at(at)).round() / 1e9), [1.0, 1.0, 0.1, 0.01]);
    let cosine = RateSchedule::Cosine { warm_up: 0.2 };
    let found = [0.1, 0.2, 0.6, 1.0].map(|at| (1e9 * cosine.at(at)).round() / 1e9);
    assert_eq!(found, [0.5, 1.0, 0.5, 0.0]);
    assert_eq!(RateSchedule::Cosine { warm_up: 0.0 }.at(0.0), 1.0);
}
