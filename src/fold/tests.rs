use super::*;
use crate::graph::arbitrary::{graphs, node_id, node_ids, noise};
use crate::graph::{BatchNorm, Binary, GroupNorm, Interpreter, Node, Slice};
use crate::tensor::Span;
use ndarray::Array4;
use proptest::prelude::*;

fn chain(input: Shape, ops: Vec<Op>) -> Graph {
    let node = |(id, op): (usize, Op)| Node {
        name: format!("n{id}"),
        op,
        inputs: id.checked_sub(1).map(node_id).into_iter().collect(),
    };
    let output = node_id(ops.len());
    let nodes = std::iter::once(Op::Input).chain(ops).enumerate().map(node).collect();
    Graph { name: "chain".into(), input, nodes, output }
}

fn conv(outputs: usize, inputs: usize, window: Window) -> Op {
    let dim = (outputs, inputs, window.kernel[0], window.kernel[1]);
    let weight = Array4::from_shape_vec(dim, noise(outputs * inputs * window.area(), 7)).unwrap();
    Op::Conv(Conv { weight, gain: vec![1.0; outputs], bias: noise(outputs, 8), window, groups: 1 })
}

fn affine(scale: f32, shift: f32) -> Op {
    Op::Affine(Affine { scale: vec![scale], shift: vec![shift] })
}

fn norm(channels: usize) -> Op {
    Op::BatchNorm(BatchNorm {
        gamma: noise(channels, 1),
        beta: noise(channels, 2),
        mean: noise(channels, 3),
        variance: noise(channels, 4).iter().map(|v| v * v).collect(),
        epsilon: 1e-3,
    })
}

fn agree(before: &Graph, after: &Graph) -> bool {
    let image = noise(before.input.len(), 99);
    let expected = Interpreter::new(before).unwrap().run(&image).unwrap();
    let found = Interpreter::new(after).unwrap().run(&image).unwrap();
    let largest = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    expected.len() == found.len() && expected.iter().zip(&found).all(|(a, b)| (a - b).abs() <= 1e-5 * largest)
}

/// Folds, checks that the function is the same, and gives the names that are left after the input.
fn folded(graph: Graph) -> (Graph, Vec<String>) {
    let result = fold(graph.clone()).unwrap();
    assert!(agree(&graph, &result));
    let names = result.nodes.iter().skip(1).map(|node| node.name.clone()).collect();
    (result, names)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn folding_keeps_the_function_and_settles(graph in graphs()) {
        let once = fold(graph.clone()).unwrap();
        prop_assert!(agree(&graph, &once));
        prop_assert!(once.nodes.len() <= graph.nodes.len());
        prop_assert_eq!(fold(once.clone()).unwrap(), once);
    }
}

#[test]
fn batch_norm_becomes_gain_and_bias_and_leaves_the_weights() {
    let window = Window::new([3, 3]).with_pads([1; 4]);
    let graph = chain(Shape::new(2, 5, 5), vec![conv(4, 2, window), norm(4), affine(2.0, 1.0)]);
    let (result, names) = folded(graph.clone());
    assert_eq!(names, ["n1"]);
    let (Op::Conv(before), Op::Conv(after)) = (&graph.nodes[node_id(1)].op, &result.nodes[node_id(1)].op)
    else {
        unreachable!()
    };
    assert_eq!(before.weight, after.weight);
    assert_ne!(before.gain, after.gain);
}

#[test]
fn a_conv_with_another_reader_keeps_its_values() {
    let mut graph = chain(Shape::new(2, 3, 3), vec![conv(2, 2, Window::new([1, 1])), norm(2)]);
    graph.nodes.push(Node { name: "add".into(), op: Op::Binary(Binary::Add), inputs: node_ids(&[1, 2]) });
    graph.output = node_id(3);
    assert_eq!(folded(graph).1, ["n1", "n2", "add"]);
}

#[test]
fn a_conv_read_through_a_vanishing_node_by_two_keeps_its_values() {
    let unbounded = Op::Unary(Unary::Clip(f32::NEG_INFINITY, f32::INFINITY));
    let mut graph = chain(Shape::new(2, 3, 3), vec![conv(2, 2, Window::new([1, 1])), unbounded, norm(2)]);
    graph.nodes.push(Node { name: "add".into(), op: Op::Binary(Binary::Add), inputs: node_ids(&[2, 3]) });
    graph.output = node_id(4);
    assert_eq!(folded(graph).1, ["n1", "n3", "add"]);
}

#[test]
fn a_conv_that_is_the_output_too_keeps_its_values() {
    let mut graph = chain(Shape::new(2, 3, 3), vec![conv(2, 2, Window::new([1, 1])), norm(2)]);
    graph.output = node_id(1);
    assert_eq!(folded(graph).1, ["n1"]);
}

#[test]
fn fully_connected_layers_cover_their_input() {
    let graph = chain(Shape::new(2, 3, 4), vec![Op::Flatten, conv(5, 24, Window::new([1, 1])), Op::Flatten]);
    let (result, names) = folded(graph);
    assert_eq!(names, ["n2"]);
    let Op::Conv(conv) = &result.nodes[node_id(1)].op else { unreachable!() };
    assert_eq!(conv.weight.dim(), (5, 2, 3, 4));
}

#[test]
fn zero_padding_moves_into_the_convolution() {
    let pad = |value| Op::Pad(Pad { before: [0, 1, 2], after: [0, 3, 0], value });
    let window = Window::new([3, 3]).with_pads([1; 4]);
    let input = Shape::new(1, 4, 4);
    let (result, names) = folded(chain(input, vec![pad(0.0), conv(1, 1, window)]));
    assert_eq!(names, ["n2"]);
    let Op::Conv(merged) = &result.nodes[node_id(1)].op else { unreachable!() };
    assert_eq!(merged.window.pads, [2, 3, 4, 1]);
    assert_eq!(folded(chain(input, vec![pad(1.0), conv(1, 1, window)])).1.len(), 2);
}

#[test]
fn operators_that_do_nothing_vanish() {
    let none = [0; 3];
    let ops = vec![
        affine(1.0, 0.0),
        affine(2.0, 1.0),
        affine(0.5, -0.5),
        Op::Pad(Pad { before: none, after: none, value: 1.0 }),
        Op::Slice(Slice { start: none, end: [4, 2, 2], step: [1; 3] }),
        Op::Concat,
        Op::ChannelShuffle { groups: 1 },
        Op::ChannelShuffle { groups: 4 },
        Op::Unary(Unary::Clip(f32::NEG_INFINITY, f32::INFINITY)),
        Op::MaxPool(Window::new([1, 1])),
    ];
    let (result, names) = folded(chain(Shape::new(4, 2, 2), ops));
    assert!(names.is_empty());
    assert_eq!(result.output, node_id(0));
}

#[test]
fn an_average_over_everything_is_global() {
    let window = Window::new([4, 3]).with_stride([2, 2]);
    let ops = vec![Op::AveragePool { window, count_include_pad: true }, Op::Flatten];
    let (result, _) = folded(chain(Shape::new(2, 4, 3), ops));
    assert_eq!(result.nodes[node_id(1)].op, Op::GlobalAveragePool);
    assert_eq!(result.nodes.len(), 2);
}

#[test]
fn factors_after_a_normalisation_become_its_own() {
    let norm =
        GroupNorm { groups: 2, span: Span::Image, gamma: vec![2.0; 4], beta: vec![1.0; 4], epsilon: 1e-3 };
    let graph = chain(Shape::new(4, 3, 2), vec![Op::GroupNorm(norm.clone()), affine(3.0, -1.0)]);
    let (result, _) = folded(graph);
    let expected = GroupNorm { gamma: vec![6.0; 4], beta: vec![2.0; 4], ..norm };
    assert_eq!(result.nodes[node_id(1)].op, Op::GroupNorm(expected));
    assert_eq!(result.nodes.len(), 2);
}

/// `(x − mean) · 1/√(mean of squares + epsilon)`, then factors and offsets.
fn spelled_out_norm(weight: f32) -> Graph {
    let node = |name: &str, op, inputs: &[usize]| Node { name: name.into(), op, inputs: node_ids(inputs) };
    let sum = || {
        let weight = Array4::from_elem((1, 4, 1, 1), weight);
        let window = Window::new([1, 1]);
        Op::Conv(Conv { weight, gain: vec![1.0], bias: vec![0.0], window, groups: 1 })
    };
    let nodes = vec![
        node("input", Op::Input, &[]),
        node("sum", sum(), &[0]),
        node("mean", affine(0.25, 0.0), &[1]),
        node("centred", Op::Binary(Binary::Sub), &[0, 2]),
        node("squares", Op::Unary(Unary::Pow(2.0)), &[3]),
        node("variance", sum(), &[4]),
        node("epsilon", affine(0.25, 0.01), &[5]),
        node("deviation", Op::Unary(Unary::Sqrt), &[6]),
        node("quotient", Op::Binary(Binary::Div), &[3, 7]),
        node("factors", affine(2.0, -1.0), &[8]),
    ];
    Graph { name: "norm".into(), input: Shape::new(4, 3, 2), nodes: nodes.into(), output: node_id(9) }
}

#[test]
fn layer_normalization_that_is_spelled_out_becomes_one_operator() {
    let graph = spelled_out_norm(1.0);
    let (result, _) = folded(graph.clone());
    let (gamma, beta) = (vec![2.0; 4], vec![-1.0; 4]);
    let norm = GroupNorm { groups: 1, span: Span::Position, gamma, beta, epsilon: 0.01 };
    assert_eq!(result.nodes.len(), 2);
    assert_eq!(result.nodes[node_id(1)].op, Op::GroupNorm(norm));
    assert!(agree(&graph, &result));
    let other = spelled_out_norm(1.5);
    let (result, _) = folded(other.clone());
    assert!(result.nodes.iter().all(|node| !matches!(node.op, Op::GroupNorm(_))));
    assert!(agree(&other, &result));
}

#[test]
fn gains_that_overflow_are_an_error() {
    let graph = chain(Shape::flat(1), vec![affine(1e38, 0.0), affine(1e38, 0.0)]);
    let error = fold(graph).unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::NonFinite, Some("n2")));
}

#[test]
fn division_by_a_tensor_becomes_a_product() {
    let input = Shape::new(2, 3, 3);
    let node = |name: &str, op, inputs| Node { name: name.into(), op, inputs };
    let graph = Graph {
        name: "division".into(),
        input,
        nodes: Per::from(vec![
            node("input", Op::Input, vec![]),
            node("positive", Op::Unary(Unary::Exp), node_ids(&[0])),
            node("quotient", Op::Binary(Binary::Div), node_ids(&[0, 1])),
            node("mean", Op::GlobalAveragePool, node_ids(&[2])),
        ]),
        output: node_id(3),
    };
    let (after, _) = folded(graph.clone());
    assert!(agree(&graph, &after));
    assert!(after.nodes.iter().all(|node| node.op != Op::Binary(Binary::Div)));
}
