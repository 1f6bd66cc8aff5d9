use super::*;
use crate::channels::tests::{network, same_function};
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier, graphs, node_id, noise};
use proptest::prelude::*;

proptest! {
    /// Whatever the factors, the function is the same.
    #[test]
    fn the_function_stays(graph in graphs(), seed in any::<u64>()) {
        let mut choices = Choices(seed);
        let mut changed = graph.clone();
        for axis in axes(&graph, Change::Scale).unwrap() {
            let factors: Vec<f64> = (0..axis.channels).map(|_| choices.pick(&[0.25, 0.5, 1.0, 2.0, 4.0])).collect();
            axis.divide(&mut changed, &factors);
        }
        same_function(&graph, &changed, seed)?;
    }

    /// The whole transformation, on calibration images.
    #[test]
    fn classifiers_stay(seed in any::<u64>()) {
        let graph = classifier(seed);
        let pixels: Vec<u8> = noise(graph.input.len() * 5, seed).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
        let mut spool = Spool::new(graph.input, 5).unwrap();
        spool.push(&pixels).unwrap();
        let all: Vec<NodeId> = graph.nodes.ids().collect();
        let changed = equalise(graph.clone(), &preprocess(graph.input), &spool, &all).unwrap();
        same_function(&graph, &changed, seed)?;
    }
}

#[test]
fn channels_of_the_readers_asked_for_have_one_deviation() {
    let graph = network();
    let mut spool = Spool::new(graph.input, 3).unwrap();
    spool.push(&(0..3 * 48).map(|at| (at * 37 % 256) as u8).collect::<Vec<_>>()).unwrap();
    let preprocess = preprocess(graph.input);
    let changed = equalise(graph.clone(), &preprocess, &spool, &[3, 9].map(node_id)).unwrap();
    let spreads = |graph: &Graph| -> Vec<f64> {
        let found = deviations(graph, &preprocess, &spool, &axes(graph, Change::Scale).unwrap()).unwrap();
        let extreme = |values: &[f64], of: fn(f64, f64) -> f64| values.iter().copied().reduce(of).unwrap();
        found.iter().map(|values| extreme(values, f64::max) / extreme(values, f64::min)).collect()
    };
    let (before, after) = (spreads(&graph), spreads(&changed));
    assert!((after[1] - before[1]).abs() < 1e-3 && before[1] > 1.1, "{before:?} {after:?}");
    for axis in [0, 2, 3] {
        assert!(after[axis] < 1.001 && before[axis] > 1.1, "{before:?} {after:?}");
    }
    assert_eq!(equalise(graph.clone(), &preprocess, &spool, &[3, 9].map(node_id)).unwrap(), changed);
    assert_eq!(equalise(graph.clone(), &preprocess, &spool, &[]).unwrap(), graph);
}

#[test]
fn factors_are_relative_and_leave_the_dead() {
    let found = factors(&[4.0, 1.0, 0.0, 2.0]);
    for (found, expected) in found.iter().zip([2.0, 0.5, 1.0, 1.0]) {
        assert!((found - expected).abs() < 1e-12, "{found}");
    }
    assert_eq!(factors(&[0.0; 2]), [1.0; 2]);
    let limited = factors(&[1.0, 0.0011, 0.0011]);
    assert!(limited.iter().all(|factor| (1.0 / 6.001..6.001).contains(factor)), "{limited:?}");
}
