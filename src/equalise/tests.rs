use super::*;
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier, graphs, noise};
use crate::graph::{Binary, Conv, Node, Unary};
use crate::tensor::{Shape, Window};
use ndarray::Array4;
use proptest::prelude::*;

fn conv(outputs: usize, inputs: usize, seed: u64) -> Op {
    Op::Conv(Conv {
        weight: Array4::from_shape_vec((outputs, inputs, 1, 1), noise(outputs * inputs, seed)).unwrap(),
        gain: vec![1.0; outputs],
        bias: noise(outputs, seed + 1),
        window: Window::new([1, 1]),
        groups: 1,
    })
}

fn graph(nodes: Vec<(&str, Op, Vec<usize>)>) -> Graph {
    let nodes: Vec<Node> =
        nodes.into_iter().map(|(name, op, inputs)| Node { name: name.into(), op, inputs }).collect();
    Graph { name: "axes".into(), input: Shape::new(3, 4, 4), output: nodes.len() - 1, nodes }
}

/// A residual sum of two convolutions, then a fire module.
fn network() -> Graph {
    graph(vec![
        ("input", Op::Input, vec![]),
        ("stem", conv(4, 3, 1), vec![0]),
        ("relu", Op::Unary(Unary::Relu), vec![1]),
        ("branch", conv(4, 4, 2), vec![2]),
        ("sum", Op::Binary(Binary::Add), vec![2, 3]),
        ("narrow", conv(5, 4, 3), vec![4]),
        ("left", conv(6, 5, 4), vec![4 + 1]),
        ("right", conv(2, 5, 5), vec![5]),
        ("both", Op::Concat, vec![6, 7]),
        ("logits", conv(3, 8, 6), vec![8]),
    ])
}

#[test]
fn axes_are_what_must_change_together() {
    let found = axes(&network()).unwrap();
    let readers = |readers: &[(usize, usize)]| {
        readers.iter().map(|&(conv, first_input)| axes::Reader { conv, first_input }).collect::<Vec<_>>()
    };
    let expected = [
        Axis { channels: 4, makers: vec![1, 3], readers: readers(&[(3, 0), (5, 0)]) },
        Axis { channels: 5, makers: vec![5], readers: readers(&[(6, 0), (7, 0)]) },
        Axis { channels: 6, makers: vec![6], readers: readers(&[(9, 0)]) },
        Axis { channels: 2, makers: vec![7], readers: readers(&[(9, 6)]) },
    ];
    assert_eq!(found, expected);
}

/// A bound on the values, or a table of them, depends on their scale.
#[test]
fn what_depends_on_scale_or_place_stays() {
    for op in [Op::Unary(Unary::Clip(0.0, 6.0)), Op::Unary(Unary::Silu), Op::ChannelShuffle { groups: 2 }] {
        let nodes = vec![
            ("input", Op::Input, vec![]),
            ("stem", conv(4, 3, 1), vec![0]),
            ("op", op, vec![1]),
            ("logits", conv(3, 4, 3), vec![2]),
        ];
        assert_eq!(axes(&graph(nodes)).unwrap(), []);
    }
}

fn outputs(graph: &Graph, image: &[f32]) -> Vec<f32> {
    Interpreter::new(graph).unwrap().run(image).unwrap()
}

proptest! {
    /// Whatever the factors and the order, the function is the same.
    #[test]
    fn the_function_stays(graph in graphs(), seed in any::<u64>()) {
        let mut choices = Choices(seed);
        let mut changed = graph.clone();
        for axis in axes(&graph).unwrap() {
            let factors: Vec<f64> = (0..axis.channels).map(|_| choices.pick(&[0.25, 0.5, 1.0, 2.0, 4.0])).collect();
            axis.divide(&mut changed, &factors);
            let mut order: Vec<usize> = (0..axis.channels).collect();
            order.sort_by_key(|_| choices.next());
            axis.reorder(&mut changed, &order);
        }
        let image = noise(graph.input.len(), seed);
        let (wanted, found) = (outputs(&graph, &image), outputs(&changed, &image));
        let largest = wanted.iter().fold(1f32, |largest, value| largest.max(value.abs()));
        for (a, b) in wanted.iter().zip(&found) {
            prop_assert!((a - b).abs() <= 1e-3 * largest || !a.is_finite(), "{a} {b}");
        }
    }

    /// The whole transformation, on calibration images.
    #[test]
    fn classifiers_stay(seed in any::<u64>()) {
        let graph = classifier(seed);
        let pixels: Vec<u8> = noise(graph.input.len() * 5, seed).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
        let mut spool = Spool::new(graph.input, 5).unwrap();
        spool.push(&pixels).unwrap();
        let changed = equalise(graph.clone(), &preprocess(graph.input), &spool).unwrap();
        let image = noise(graph.input.len(), seed);
        let (wanted, found) = (outputs(&graph, &image), outputs(&changed, &image));
        let largest = wanted.iter().fold(1f32, |largest, value| largest.max(value.abs()));
        for (a, b) in wanted.iter().zip(&found) {
            prop_assert!((a - b).abs() <= 1e-3 * largest || !a.is_finite(), "{a} {b}");
        }
    }
}

#[test]
fn equalised_channels_are_in_the_order_of_their_readers_weights() {
    let graph = network();
    let mut spool = Spool::new(graph.input, 3).unwrap();
    spool.push(&(0..3 * 48).map(|at| (at * 37 % 256) as u8).collect::<Vec<_>>()).unwrap();
    let changed = equalise(graph.clone(), &preprocess(graph.input), &spool).unwrap();
    let found = axes(&changed).unwrap();
    // The sizes of the third axis changed again with the fourth, which has the same reader.
    for axis in [&found[0], &found[1], &found[3]] {
        let sizes = axis.weight_sizes(&changed);
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        let spread = |sizes: &[f64]| {
            sizes.iter().copied().fold(0.0, f64::max) / sizes.iter().copied().fold(f64::MAX, f64::min)
        };
        assert!(spread(&sizes) <= LARGEST_FACTOR.powi(2) * spread(&axis.weight_sizes(&graph)));
    }
    assert_ne!(changed, graph);
    assert_eq!(equalise(graph.clone(), &preprocess(graph.input), &spool).unwrap(), changed);
}

#[test]
fn factors_balance_deviation_and_weights_and_leave_the_dead() {
    let found = factors(&[4.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 1.0, 0.0]);
    assert!((found[0] - 2f64.sqrt()).abs() < 1e-12 && (found[1] - 0.5f64.sqrt()).abs() < 1e-12, "{found:?}");
    assert_eq!(found[2..], [1.0, 1.0]);
    assert_eq!(factors(&[0.0; 2], &[1.0; 2]), [1.0; 2]);
    let limited = factors(&[1e6, 1e4], &[1e-9, 1e9]);
    assert!(limited.iter().all(|factor| (1.0 / 6.001..6.001).contains(factor)), "{limited:?}");
}
