use super::*;
use crate::graph::Interpreter;
use crate::graph::arbitrary::{classifier, noise};
use crate::train::network::Statistics;

fn images(network: &Network, count: usize) -> BatchValue {
    (0..count as u64).map(|seed| noise(network.layers[0].shape.len(), seed)).collect()
}

fn gradients(network: &Network, count: usize, budget: usize) -> Result<(BatchValue, Gradients)> {
    let mut tape = Tape::forward(network, images(network, count), budget)?;
    let logits: BatchValue = tape.outputs().into_iter().map(<[f32]>::to_vec).collect();
    let seeds = logits.iter().map(|logits| noise(logits.len(), 5)).collect();
    let gradients = tape.backward(vec![(network.layers.len() - 1, seeds)])?;
    Ok((logits, gradients))
}

/// What is computed twice is the same to the bit, and so is everything on one thread.
#[test]
fn neither_budget_nor_threads_change_anything() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let four = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let mut learned = 0;
    for seed in 0..40 {
        let mut network = Network::of(&classifier(seed)).unwrap();
        for statistics in [Statistics::Running, Statistics::Batch] {
            network.statistics = statistics;
            let Ok(whole) = gradients(&network, 5, usize::MAX) else { continue };
            learned += whole.1.iter().flatten().flatten().count();
            assert_eq!(one.install(|| gradients(&network, 5, usize::MAX)).unwrap(), whole);
            assert_eq!(four.install(|| gradients(&network, 5, 0)).unwrap(), whole);
        }
    }
    assert!(learned > 1000);
}

#[test]
fn the_forward_pass_is_full_precision() {
    for seed in 0..40 {
        let graph = classifier(seed);
        let network = Network::of(&graph).unwrap();
        let interpreter = Interpreter::new(&graph).unwrap();
        let Ok(tape) = Tape::forward(&network, images(&network, 3), 0) else { continue };
        for (logits, image) in tape.outputs().into_iter().zip(images(&network, 3)) {
            assert_eq!(*logits, interpreter.run(&image).unwrap());
        }
    }
}

/// A loss of the logits changes along a random direction of all parameters as its gradient says.
#[test]
fn gradients_of_whole_networks_equal_differences() {
    let mut compared = 0;
    for seed in 0..60 {
        let network = Network::of(&classifier(seed)).unwrap();
        let loss = |network: &Network| -> Option<f64> {
            let tape = Tape::forward(network, images(network, 2), usize::MAX).ok()?;
            let dot = |logits: &[f32]| -> f64 {
                noise(logits.len(), 5).iter().zip(logits).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            Some(tape.outputs().into_iter().map(dot).sum())
        };
        if loss(&network).is_none_or(|loss| !loss.is_finite()) {
            continue;
        }
        let (_, gradients) = gradients(&network, 2, usize::MAX).unwrap();
        let mut slope = 0.0;
        let moved = |by: f32| {
            let mut network = network.clone();
            for (id, layer) in network.layers.iter_mut().enumerate() {
                for (place, (_, values)) in layer.function.parameters_mut().into_iter().enumerate() {
                    let direction = noise(values.len(), (id * 10 + place) as u64);
                    values.iter_mut().zip(direction).for_each(|(value, step)| *value += by * step);
                }
            }
            loss(&network)
        };
        for (id, layer) in gradients.iter().enumerate() {
            for (place, gradient) in layer.iter().enumerate() {
                let direction = noise(gradient.len(), (id * 10 + place) as u64);
                slope +=
                    gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(d)).sum::<f64>();
            }
        }
        let difference = |by: f32| Some((moved(by)? - moved(-by)?) / f64::from(2.0 * by));
        // Where two distances disagree there is a corner between.
        let (Some(near), Some(far)) = (difference(1e-3), difference(2e-3)) else { continue };
        let size = slope.abs().max(near.abs()).max(0.1);
        if (near - far).abs() < 0.01 * size {
            compared += 1;
            assert!((slope - near).abs() < 0.03 * size, "network {seed}: {slope} instead of {near}");
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn what_is_not_finite_names_the_layer() {
    let graph = classifier(3);
    let mut network = Network::of(&graph).unwrap();
    let last = network.layers.len() - 1;
    let name = network.layers[last].name.clone();
    let images = images(&network, 2);
    for (_, values) in network.layers[last].function.parameters_mut() {
        values.fill(f32::NAN);
    }
    let error = Tape::forward(&network, images, usize::MAX).err();
    if !network.layers[last].function.parameters().is_empty() {
        let error = error.unwrap();
        assert_eq!((error.kind(), error.node()), (ErrorKind::NonFinite, Some(name.as_str())));
    }
}

/// A part of a network, given what it reads, yields and learns what it does in the whole.
#[test]
fn parts_equal_the_whole() {
    let mut compared = 0;
    for seed in 0..40 {
        let network = Network::of(&classifier(seed)).unwrap();
        let last = network.layers.len() - 1;
        let Ok(whole) = gradients(&network, 3, usize::MAX) else { continue };
        let alone =
            |&cut: &LayerId| network.layers[cut + 1..].iter().all(|it| it.inputs.iter().all(|&i| i >= cut));
        for cut in (1..last).filter(alone) {
            let head = Tape::between(&network, [0, cut], images(&network, 3), 0).unwrap();
            let values = head.outputs().into_iter().map(<[f32]>::to_vec).collect();
            let mut tail = Tape::between(&network, [cut, last], values, 0).unwrap();
            assert_eq!(tail.outputs(), whole.0);
            let seeds = whole.0.iter().map(|logits| noise(logits.len(), 5)).collect();
            let found = tail.backward(vec![(last, seeds)]).unwrap();
            assert!(found[..=cut].iter().all(Vec::is_empty) && found[cut + 1..] == whole.1[cut + 1..]);
            compared += found.iter().flatten().count();
        }
    }
    assert!(compared > 100);
}

/// Layers that are wanted are kept as they are, whatever the budget, and gradients start there as well.
#[test]
fn wanted_values_are_kept() {
    let mut compared = 0;
    for seed in 0..40 {
        let network = Network::of(&classifier(seed)).unwrap();
        let wanted: Vec<LayerId> =
            (1..network.layers.len()).filter(|id| id % 3 == seed as usize % 3).collect();
        let learned = |budget: usize| {
            let mut tape = Tape::with_features(&network, &wanted, images(&network, 3), budget)?;
            let values: Vec<BatchValue> = wanted
                .iter()
                .map(|&id| tape.feature(id).into_iter().map(<[f32]>::to_vec).collect())
                .collect();
            let seeds = wanted.iter().copied().zip(values.clone()).collect();
            Ok::<_, Error>((values, tape.backward(seeds)?))
        };
        let Ok((values, gradients)) = learned(0) else { continue };
        assert_eq!(learned(usize::MAX).unwrap(), (values.clone(), gradients));
        for (&id, values) in wanted.iter().zip(&values) {
            let alone = Tape::between(&network, [0, id], images(&network, 3), 0).unwrap();
            assert_eq!(alone.outputs(), *values);
            compared += 1;
        }
    }
    assert!(compared > 100);
}
