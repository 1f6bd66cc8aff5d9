//! Random small networks for property tests.

use super::{Affine, BatchNorm, Binary, Conv, Graph, GroupNorm, Node, NodeId, Op, Pad, Slice, Unary};
use crate::index::Per;
use crate::tensor::{Shape, Span, Window};
use ndarray::Array4;
use proptest::prelude::*;

pub(crate) use crate::choices::{Choices, noise};

/// The node at a place.
pub(crate) fn node_id(index: usize) -> NodeId {
    NodeId::from_index(index)
}

/// The nodes at some places.
pub(crate) fn node_ids(places: &[usize]) -> Vec<NodeId> {
    places.iter().copied().map(node_id).collect()
}

/// Networks of up to about twenty nodes with every kind of operator; values stay of moderate size.
pub(crate) fn graphs() -> impl Strategy<Value = Graph> {
    let input = (1usize..=6, 1usize..=8, 1usize..=8);
    (input, prop::collection::vec(any::<u64>(), 1..20)).prop_map(|((channels, height, width), choices)| {
        let mut graph = bare(Shape::new(channels, height, width));
        choices.into_iter().for_each(|choice| grow(&mut graph, &mut Choices(choice)));
        graph
    })
}

/// The classifier that `seed` stands for: pixels of one or three channels in, a vector of logits out.
pub(crate) fn classifier(seed: u64) -> Graph {
    let mut choices = Choices(seed);
    let choices = &mut choices;
    let mut graph = bare(Shape::new(choices.pick(&[1, 3]), 3 + choices.below(6), 3 + choices.below(6)));
    (0..2 + choices.below(14)).for_each(|_| grow(&mut graph, choices));
    let shape = graph.shapes().unwrap()[graph.output];
    let end = if choices.below(2) == 0 { Op::GlobalAveragePool } else { Op::Flatten };
    let features = if end == Op::Flatten { shape.len() } else { shape.channels };
    graph.output = graph.nodes.push(Node { name: "vector".into(), op: end, inputs: vec![graph.output] });
    if features < 2 || choices.below(4) > 0 {
        let outputs = 2 + choices.below(5);
        let conv = dense(choices, features, outputs);
        let dense = Node { name: "dense".into(), op: Op::Conv(conv), inputs: vec![graph.output] };
        graph.output = graph.nodes.push(dense);
    }
    graph
}

fn bare(input: Shape) -> Graph {
    let nodes = vec![Node { name: "input".into(), op: Op::Input, inputs: vec![] }];
    Graph { name: "arbitrary".into(), input, nodes: nodes.into(), output: node_id(0) }
}

fn dense(choices: &mut Choices, inputs: usize, outputs: usize) -> Conv {
    let size = 1.0 / (inputs as f32).sqrt();
    let weight = choices.values(inputs * outputs).iter().map(|w| w * size).collect();
    Conv {
        weight: Array4::from_shape_vec((outputs, inputs, 1, 1), weight).unwrap(),
        gain: vec![1.0; outputs],
        bias: choices.values(outputs),
        window: Window::new([1, 1]),
        groups: 1,
    }
}

/// Adds one node, if the operator drawn fits its inputs.
fn grow(graph: &mut Graph, choices: &mut Choices) {
    let Ok(shapes) = graph.shapes() else { return };
    // Mostly the newest value, so that chains form that can be folded.
    let newest = node_id(shapes.len() - 1);
    let source = if choices.below(4) == 0 { node_id(choices.below(shapes.len())) } else { newest };
    let (op, inputs) = operator(choices, source, newest, &shapes);
    let name = format!("node{}", shapes.len());
    graph.output = graph.nodes.push(Node { name, op, inputs });
    if graph.shapes().map_or(true, |shapes| shapes.last().is_some_and(|shape| shape.len() > 2000)) {
        graph.nodes.pop();
        graph.output = newest;
    }
}

fn operator(
    choices: &mut Choices,
    source: NodeId,
    other: NodeId,
    shapes: &Per<NodeId, Shape>,
) -> (Op, Vec<NodeId>) {
    let shape = shapes[source];
    let channels = shape.channels;
    let op = match choices.below(16) {
        0..=2 => Op::Conv(convolution(choices, shape)),
        3 | 4 => normalization(batch_norm(choices, channels)),
        5 => {
            let length = [1, channels][choices.below(2)];
            Op::Affine(Affine { scale: choices.values(length), shift: choices.values(length) })
        }
        6 | 7 => Op::Unary(function(choices)),
        8 => Op::PRelu(choices.values(channels)),
        9 => {
            let binary = [Binary::Add, Binary::Sub, Binary::Mul][choices.below(3)];
            return (Op::Binary(binary), vec![source, other]);
        }
        10 => return (Op::Concat, [source, other][..1 + choices.below(2)].to_vec()),
        11 => Op::Slice(slice(choices, shape)),
        12 => Op::Pad(padding(choices)),
        13 => match choices.below(3) {
            0 => Op::MaxPool(choices.window()),
            1 => Op::AveragePool { window: choices.window(), count_include_pad: choices.below(2) == 0 },
            _ => {
                Op::AveragePool { window: Window::new([shape.height, shape.width]), count_include_pad: true }
            }
        },
        14 => [Op::GlobalAveragePool, Op::Flatten][choices.below(2)].clone(),
        _ => Op::ChannelShuffle { groups: 1 + choices.below(channels) },
    };
    (op, vec![source])
}

fn convolution(choices: &mut Choices, shape: Shape) -> Conv {
    let channels = shape.channels;
    let groups = [1, 1, channels, if channels.is_multiple_of(2) { 2 } else { 1 }][choices.below(4)];
    let outputs = groups * (1 + choices.below(3));
    let window = match choices.below(2) {
        0 => Window::new([1, 1]),
        _ => Window { ceil: false, ..choices.window() },
    };
    let (rows, columns) = (window.kernel[0], window.kernel[1]);
    let per_group = channels / groups;
    // Keeps outputs about as large as inputs.
    let size = 1.0 / ((per_group * window.area()) as f32).sqrt();
    let weight = choices.values(outputs * per_group * window.area()).iter().map(|w| w * size).collect();
    Conv {
        weight: Array4::from_shape_vec((outputs, per_group, rows, columns), weight).unwrap(),
        gain: if choices.below(2) == 0 { vec![1.0; outputs] } else { choices.values(outputs) },
        bias: choices.values(outputs),
        window,
        groups,
    }
}

/// Now and then a normalisation by the image's own moments, with an epsilon that keeps small differences from growing. Its
/// numbers are those of `norm`, so that graphs with given seeds stay as they are but for that.
fn normalization(norm: BatchNorm) -> Op {
    if norm.mean[0] < 0.8 {
        return Op::BatchNorm(norm);
    }
    let groups = if norm.variance[0] > 0.9 { 1 } else { norm.gamma.len() };
    let span = if norm.beta[0] > 0.0 { Span::Position } else { Span::Image };
    Op::GroupNorm(GroupNorm { groups, span, gamma: norm.gamma, beta: norm.beta, epsilon: 1.0 })
}

fn batch_norm(choices: &mut Choices, channels: usize) -> BatchNorm {
    BatchNorm {
        gamma: choices.values(channels),
        beta: choices.values(channels),
        mean: choices.values(channels),
        variance: choices.values(channels).iter().map(|v| v.abs() + 0.5).collect(),
        epsilon: 1e-5,
    }
}

fn function(choices: &mut Choices) -> Unary {
    let functions = [
        Unary::Relu,
        Unary::LeakyRelu(0.1),
        Unary::Clip(0.0, 6.0),
        Unary::Clip(f32::NEG_INFINITY, f32::INFINITY),
        Unary::HardSwish,
        Unary::HardSigmoid(0.2, 0.5),
        Unary::Sigmoid,
        Unary::Silu,
        Unary::Tanh,
        Unary::Elu(1.0),
        Unary::Gelu,
        Unary::Softplus,
        Unary::Abs,
    ];
    functions[choices.below(functions.len())]
}

fn slice(choices: &mut Choices, shape: Shape) -> Slice {
    let extents = [shape.channels, shape.height, shape.width];
    let start = extents.map(|extent| choices.below(extent.min(2)));
    Slice { start, end: extents, step: [0; 3].map(|_| 1 + choices.below(2)) }
}

fn padding(choices: &mut Choices) -> Pad {
    let spatial = choices.below(2) == 0;
    let mut side = || [usize::from(!spatial) * choices.below(2), choices.below(2), choices.below(2)];
    Pad { before: side(), after: side(), value: [0.0, 0.0, 0.5][choices.below(3)] }
}
