//! Networks for the tests of this folder.

use crate::graph::arbitrary::{node_id, node_ids, noise};
use crate::graph::{Binary, Conv, Graph, Interpreter, Node, Op, Unary};
use crate::tensor::{Shape, Window};
use ndarray::Array4;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

fn convolution(outputs: usize, inputs: usize, groups: usize, seed: u64) -> Op {
    Op::Conv(Conv {
        weight: Array4::from_shape_vec((outputs, inputs, 1, 1), noise(outputs * inputs, seed)).unwrap(),
        gain: noise(outputs, seed + 2).iter().map(|gain| 1.5 + gain).collect(),
        bias: noise(outputs, seed + 1),
        window: Window::new([1, 1]),
        groups,
    })
}

pub(super) fn conv(outputs: usize, inputs: usize, seed: u64) -> Op {
    convolution(outputs, inputs, 1, seed)
}

pub(super) fn depthwise(channels: usize, seed: u64) -> Op {
    convolution(channels, 1, channels, seed)
}

pub(super) fn graph(nodes: Vec<(&str, Op, Vec<usize>)>) -> Graph {
    let node = |(name, op, inputs): (&str, Op, Vec<usize>)| Node {
        name: name.into(),
        op,
        inputs: node_ids(&inputs),
    };
    let output = node_id(nodes.len() - 1);
    let nodes = nodes.into_iter().map(node).collect();
    Graph { name: "axes".into(), input: Shape::new(3, 4, 4), nodes, output }
}

/// A residual sum of two convolutions, then a fire module.
pub(super) fn network() -> Graph {
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

fn outputs(graph: &Graph, image: &[f32]) -> Vec<f32> {
    Interpreter::new(graph).unwrap().run(image).unwrap()
}

pub(super) fn same_function(a: &Graph, b: &Graph, seed: u64) -> TestCaseResult {
    let image = noise(a.input.len(), seed);
    let (wanted, found) = (outputs(a, &image), outputs(b, &image));
    let largest = wanted.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    for (a, b) in wanted.iter().zip(&found) {
        prop_assert!((a - b).abs() <= 1e-3 * largest || !a.is_finite(), "{a} {b}");
    }
    Ok(())
}
