use super::*;
use crate::channels::tests::{conv, depthwise, graph, network, same_function};
use crate::graph::arbitrary::{Choices, classifier, graphs, node_id};
use crate::graph::{BatchNorm, Binary, Unary};
use proptest::prelude::*;

fn ternary(group: usize) -> Vec<Precision> {
    vec![Precision::ternary(group)]
}

fn any_order(len: usize, choices: &mut Choices) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    (1..len).for_each(|place| order.swap(place, choices.below(place + 1)));
    order
}

/// Channels under everything that may follow them.
fn followed() -> Graph {
    let norm = BatchNorm {
        gamma: vec![1.0, -2.0, 0.5, 3.0],
        beta: vec![0.1, 0.2, 0.3, 0.4],
        mean: vec![0.0, 0.5, -0.5, 1.0],
        variance: vec![1.0, 2.0, 3.0, 4.0],
        epsilon: 1e-5,
    };
    graph(vec![
        ("input", Op::Input, vec![]),
        ("stem", conv(4, 3, 1), vec![0]),
        ("other", conv(2, 3, 2), vec![0]),
        ("norm", Op::BatchNorm(norm), vec![1]),
        ("both", Op::Concat, vec![2, 3]),
        ("depthwise", depthwise(6, 3), vec![4]),
        ("slopes", Op::PRelu(vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), vec![5]),
        ("mean", Op::GlobalAveragePool, vec![6]),
        ("factors", conv(6, 6, 4), vec![7]),
        ("gate", Op::Unary(Unary::Sigmoid), vec![8]),
        ("product", Op::Binary(Binary::Mul), vec![6, 9]),
        ("logits", conv(3, 6, 5), vec![10]),
    ])
}

proptest! {
    /// Whatever the order, the function is the same.
    #[test]
    fn the_function_stays(graph in graphs(), seed in any::<u64>()) {
        let mut choices = Choices(seed);
        for graph in [graph, followed(), network()] {
            let mut changed = graph.clone();
            for axis in axes(&graph, Change::Order).unwrap() {
                axis.reorder(&mut changed, &any_order(axis.channels, &mut choices));
            }
            same_function(&graph, &changed, seed)?;
        }
    }

    #[test]
    fn classifiers_stay(seed in any::<u64>(), group in 1usize..6) {
        let graph = classifier(seed);
        let changed = reorder(graph.clone(), |_| ternary(group)).unwrap();
        same_function(&graph, &changed, seed)?;
    }
}

#[test]
fn followers_are_found_and_change() {
    let graph = followed();
    let found = axes(&graph, Change::Order).unwrap();
    assert_eq!(found.len(), 0, "factors of six channels join sets of two and four: {found:?}");
    let mut shorter = graph;
    shorter.nodes[node_id(10)].op = Op::Unary(Unary::Relu);
    shorter.nodes[node_id(10)].inputs = vec![node_id(6)];
    let found = axes(&shorter, Change::Order).unwrap();
    let followers: Vec<usize> = found.iter().map(|axis| axis.followers.len()).collect();
    assert_eq!(followers, [3, 2]);
    let mut changed = shorter.clone();
    found.iter().for_each(|axis| axis.reorder(&mut changed, &(0..axis.channels).rev().collect::<Vec<_>>()));
    for node in [1, 2, 3, 5, 6, 8, 11].map(node_id) {
        assert_ne!(changed.nodes[node].op, shorter.nodes[node].op, "{}", shorter.nodes[node].name);
    }
    same_function(&shorter, &changed, 1).unwrap();
}

/// Only what ternary layers read changes places, and the output never.
#[test]
fn layers_of_other_precisions_want_no_order() {
    let graph = network();
    let kept = |_| vec![Precision::int8(), "int4:2".parse().unwrap()];
    assert_eq!(reorder(graph.clone(), kept).unwrap(), graph);
    let last = |node| if node == node_id(9) { [kept(node), ternary(2)].concat() } else { kept(node) };
    let changed = reorder(graph.clone(), last).unwrap();
    for (node, is_moved) in [(1, false), (3, false), (5, false), (6, true), (7, false), (9, true)] {
        let node = node_id(node);
        assert_eq!(changed.nodes[node].op != graph.nodes[node].op, is_moved, "{}", graph.nodes[node].name);
    }
    assert_eq!(reorder(graph, last).unwrap(), changed);
}
