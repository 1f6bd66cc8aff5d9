//! Layer normalization that a file spells out: `(x − mean) / √(mean of squares + epsilon)`, with means over the channels.

use crate::graph::{Binary, Conv, Graph, GroupNorm, NodeId, Op, Unary};
use crate::tensor::Span;

/// How far factors of a mean may be from one over the number of channels, relatively.
const TOLERANCE: f32 = 1e-5;

/// The same network with one operator for each layer normalization; what that leaves without readers stays.
pub(super) fn recognise(mut graph: Graph) -> Graph {
    for id in graph.nodes.ids() {
        if let Some((source, channels, epsilon)) = normalised(&graph, id) {
            let (gamma, beta) = (vec![1.0; channels], vec![0.0; channels]);
            let norm = GroupNorm { groups: 1, span: Span::Position, gamma, beta, epsilon };
            (graph.nodes[id].op, graph.nodes[id].inputs) = (Op::GroupNorm(norm), vec![source]);
        }
    }
    graph
}

/// What node `id` normalises at each position, of how many channels, and epsilon.
fn normalised(graph: &Graph, id: NodeId) -> Option<(NodeId, usize, f32)> {
    let [first, second] = operands(graph, id, Binary::Mul)?;
    let of = |centred: NodeId, factor: NodeId| {
        let [source, mean] = operands(graph, centred, Binary::Sub)?;
        let (averaged, channels, offset) = mean_of(graph, mean)?;
        let (squares, same_channels, epsilon) = mean_of(graph, under_root(graph, factor)?)?;
        let fits = averaged == source && offset == 0.0 && same_channels == channels && epsilon > 0.0;
        (fits && is_square(graph, squares, centred)).then_some((source, channels, epsilon))
    };
    of(first, second).or_else(|| of(second, first))
}

fn operands(graph: &Graph, id: NodeId, operator: Binary) -> Option<[NodeId; 2]> {
    let node = &graph.nodes[id];
    <[NodeId; 2]>::try_from(node.inputs.as_slice()).ok().filter(|_| node.op == Op::Binary(operator))
}

fn operand(graph: &Graph, id: NodeId, functions: &[Unary]) -> Option<NodeId> {
    match graph.nodes[id].op {
        Op::Unary(function) if functions.contains(&function) => graph.nodes[id].inputs.first().copied(),
        _ => None,
    }
}

/// The value of whose root `id` is the reciprocal.
fn under_root(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let of_root =
        || operand(graph, operand(graph, id, &[Unary::Reciprocal])?, &[Unary::Sqrt, Unary::Pow(0.5)]);
    of_root().or_else(|| operand(graph, id, &[Unary::Pow(-0.5)]))
}

fn is_square(graph: &Graph, id: NodeId, of: NodeId) -> bool {
    operand(graph, id, &[Unary::Pow(2.0)]) == Some(of) || operands(graph, id, Binary::Mul) == Some([of, of])
}

/// Of what `id` is the mean over the channels, their number, and what is added to it.
fn mean_of(graph: &Graph, id: NodeId) -> Option<(NodeId, usize, f32)> {
    let (Op::Conv(conv), [source]) = (&graph.nodes[id].op, graph.nodes[id].inputs.as_slice()) else {
        return None;
    };
    let (1, channels, 1, 1) = conv.weight.dim() else { return None };
    (conv.window.is_pointwise() && averages(conv, channels)).then(|| (*source, channels, conv.bias[0]))
}

fn averages(conv: &Conv, channels: usize) -> bool {
    let one = |&weight: &f32| (weight * conv.gain[0] * channels as f32 - 1.0).abs() <= TOLERANCE;
    conv.groups == 1 && conv.weight.iter().all(one)
}
