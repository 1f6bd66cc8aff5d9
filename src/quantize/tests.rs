//! Which operators graphs become.

use super::OperatorId;
use super::structure::{OperatorKind, Plain, Structure};
use crate::fold::fold;
use crate::graph::arbitrary::{node_id, node_ids};
use crate::graph::{Affine, Binary, Conv, Graph, Node, Op, Slice, Unary};
use crate::tensor::{Shape, Window};
use ndarray::Array4;

const INPUT: Shape = Shape::new(3, 4, 4);

pub(super) fn graph(nodes: &[(&str, Op, &[usize])]) -> Graph {
    let output = node_id(nodes.len());
    let input = Node { name: "input".into(), op: Op::Input, inputs: vec![] };
    let others = nodes.iter().map(|(name, op, inputs)| Node {
        name: (*name).to_owned(),
        op: op.clone(),
        inputs: node_ids(inputs),
    });
    let nodes = std::iter::once(input).chain(others).collect();
    Graph { name: "hand-made".into(), input: INPUT, nodes, output }
}

pub(super) fn conv(inputs: usize, outputs: usize) -> Op {
    Op::Conv(Conv {
        weight: Array4::ones((outputs, inputs, 1, 1)),
        gain: vec![1.0; outputs],
        bias: vec![0.0; outputs],
        window: Window::new([1, 1]),
        groups: 1,
    })
}

pub(super) const RELU: Op = Op::Unary(Unary::Relu);
pub(super) const FREE: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
const POSITIVE: [f32; 2] = [0.0, f32::INFINITY];

pub(super) fn add() -> Op {
    Op::Binary(Binary::Add)
}

pub(super) fn mul() -> Op {
    Op::Binary(Binary::Mul)
}

/// Name, kind and inputs of each operator after the input.
fn operators(nodes: &[(&str, Op, &[usize])]) -> Vec<(String, OperatorKind, Vec<OperatorId>)> {
    let graph = fold(graph(nodes)).unwrap();
    let structure = Structure::new(&graph).unwrap();
    let operators = structure.operators.into_iter().skip(1);
    operators.map(|operator| (operator.name, operator.kind, operator.inputs)).collect()
}

fn operator(name: &str, kind: OperatorKind, inputs: &[usize]) -> (String, OperatorKind, Vec<OperatorId>) {
    (name.into(), kind, ids(inputs))
}

fn ids(indices: &[usize]) -> Vec<OperatorId> {
    indices.iter().copied().map(OperatorId::from_index).collect()
}

fn plain(source: usize) -> OperatorKind {
    OperatorKind::Conv { source: node_id(source), residual: false, clamp: FREE }
}

#[test]
fn a_residual_and_its_relu_belong_to_the_convolution() {
    let found = operators(&[
        ("stem", conv(3, 3), &[0]),
        ("stem.relu", RELU, &[1]),
        ("conv", conv(3, 3), &[2]),
        ("sum", add(), &[3, 2]),
        ("relu", RELU, &[4]),
        ("head", conv(3, 2), &[5]),
    ]);
    let expected = [
        operator("stem", OperatorKind::Conv { source: node_id(1), residual: false, clamp: POSITIVE }, &[0]),
        operator("conv", OperatorKind::Conv { source: node_id(3), residual: true, clamp: POSITIVE }, &[1, 1]),
        operator("head", plain(6), &[2]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn of_two_convolutions_that_are_added_the_later_takes_the_sum() {
    let found = operators(&[
        ("stem", conv(3, 3), &[0]),
        ("down", conv(3, 3), &[1]),
        ("conv", conv(3, 3), &[1]),
        ("sum", add(), &[2, 3]),
        ("relu6", Op::Unary(Unary::Clip(0.0, 6.0)), &[4]),
        ("head", conv(3, 2), &[5]),
    ]);
    let expected = [
        operator("stem", plain(1), &[0]),
        operator("down", plain(2), &[1]),
        operator(
            "conv",
            OperatorKind::Conv { source: node_id(3), residual: true, clamp: [0.0, 6.0] },
            &[1, 2],
        ),
        operator("head", plain(6), &[3]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_sum_that_others_read_is_not_clamped() {
    let found = operators(&[
        ("stem", conv(3, 3), &[0]),
        ("conv", conv(3, 3), &[1]),
        ("sum", add(), &[2, 1]),
        ("relu", RELU, &[3]),
        ("other", mul(), &[3, 4]),
        ("head", conv(3, 2), &[5]),
    ]);
    assert_eq!(
        found[1],
        operator("conv", OperatorKind::Conv { source: node_id(2), residual: true, clamp: FREE }, &[1, 1])
    );
    // ReLU and product are one function of the sum.
    assert_eq!(found[2], operator("other", OperatorKind::Table { from: node_id(3) }, &[2]));
    assert_eq!(found.len(), 4);
}

#[test]
fn functions_of_many_nodes_are_one_table() {
    let half = Affine { scale: vec![1.0 / 6.0], shift: vec![0.5] };
    let silu: [(&str, Op, &[usize]); 5] = [
        ("stem", conv(3, 3), &[0]),
        ("sigmoid", Op::Unary(Unary::Sigmoid), &[1]),
        ("silu", mul(), &[1, 2]),
        ("half", Op::Affine(half.clone()), &[3]),
        ("head", conv(3, 2), &[4]),
    ];
    assert_eq!(operators(&silu)[1], operator("half", OperatorKind::Table { from: node_id(1) }, &[1]));
    let hard_swish: [(&str, Op, &[usize]); 5] = [
        ("stem", conv(3, 3), &[0]),
        ("half", Op::Affine(half), &[1]),
        ("clip", Op::Unary(Unary::Clip(0.0, 1.0)), &[2]),
        ("swish", mul(), &[3, 1]),
        ("head", conv(3, 2), &[4]),
    ];
    let found = operators(&hard_swish);
    assert_eq!(found[1], operator("swish", OperatorKind::Table { from: node_id(1) }, &[1]));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_gate_of_other_shape_is_a_product() {
    let found = operators(&[
        ("stem", conv(3, 3), &[0]),
        ("pool", Op::GlobalAveragePool, &[1]),
        ("gate", Op::Unary(Unary::Sigmoid), &[2]),
        ("scaled", mul(), &[3, 1]),
        ("head", conv(3, 2), &[4]),
    ]);
    let expected = [
        operator("stem", plain(1), &[0]),
        operator("pool", OperatorKind::Plain(Plain::GlobalAveragePool), &[1]),
        operator("gate", OperatorKind::Table { from: node_id(2) }, &[2]),
        // The operand of full shape comes first.
        operator("scaled", OperatorKind::Plain(Plain::Mul), &[1, 3]),
        operator("head", plain(5), &[4]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn differences_keep_their_signs_when_operands_are_swapped() {
    let difference = |inputs: &[usize]| {
        let found = operators(&[
            ("stem", conv(3, 3), &[0]),
            ("pool", Op::GlobalAveragePool, &[1]),
            ("difference", Op::Binary(Binary::Sub), inputs),
            ("head", conv(3, 2), &[3]),
        ]);
        (found[2].1.clone(), found[2].2.clone())
    };
    assert_eq!(
        difference(&[1, 2]),
        (OperatorKind::Plain(Plain::Add { negate: [false, true] }), ids(&[1, 2]))
    );
    assert_eq!(
        difference(&[2, 1]),
        (OperatorKind::Plain(Plain::Add { negate: [true, false] }), ids(&[1, 2]))
    );
}

#[test]
fn concatenated_tensors_that_others_read_are_copied() {
    let found = operators(&[
        ("stem", conv(3, 3), &[0]),
        ("left", conv(3, 3), &[1]),
        ("right", conv(3, 3), &[1]),
        ("cat", Op::Concat, &[1, 2, 3, 3]),
        ("head", conv(12, 2), &[4]),
    ]);
    let expected = [
        operator("stem", plain(1), &[0]),
        operator("left", plain(2), &[1]),
        operator("right", plain(3), &[1]),
        operator("cat.input0", OperatorKind::Table { from: node_id(1) }, &[1]),
        operator("cat.input2", OperatorKind::Table { from: node_id(3) }, &[3]),
        operator("cat.input3", OperatorKind::Table { from: node_id(3) }, &[3]),
        operator("cat", OperatorKind::Plain(Plain::Concat), &[4, 2, 5, 6]),
        operator("head", plain(5), &[7]),
    ];
    assert_eq!(found, expected);
}

/// GoogLeNet's input transformation: channels are cut out, scaled, and put together again.
#[test]
fn slices_of_the_input_read_normalised_pixels() {
    let channel = |c: usize| Op::Slice(Slice { start: [c, 0, 0], end: [c + 1, 4, 4], step: [1; 3] });
    let scaled = || Op::Affine(Affine { scale: vec![0.458], shift: vec![-0.03] });
    let found = operators(&[
        ("red", channel(0), &[0]),
        ("red.scaled", scaled(), &[1]),
        ("green", channel(1), &[0]),
        ("green.scaled", scaled(), &[3]),
        ("cat", Op::Concat, &[2, 4]),
        ("stem", conv(2, 3), &[5]),
        ("head", conv(3, 2), &[6]),
    ]);
    let expected = [
        operator("red", found[1].1.clone(), &[1]),
        operator("red.scaled", OperatorKind::Table { from: node_id(1) }, &[2]),
        operator("green", found[3].1.clone(), &[1]),
        operator("green.scaled", OperatorKind::Table { from: node_id(3) }, &[4]),
        operator("cat", OperatorKind::Plain(Plain::Concat), &[3, 5]),
        operator("stem", plain(6), &[6]),
        operator("head", plain(7), &[7]),
    ];
    assert_eq!(found[0], operator("input.normalised", OperatorKind::Table { from: node_id(0) }, &[0]));
    assert_eq!(found[1..], expected);
}

#[test]
fn convolutions_read_pixels_and_everything_else_reads_normalised_ones() {
    let found = operators(&[
        ("left", conv(3, 3), &[0]),
        ("sum", add(), &[1, 0]),
        ("cat", Op::Concat, &[0, 2]),
        ("pool", Op::GlobalAveragePool, &[3]),
    ]);
    let expected = [
        operator("input.normalised", OperatorKind::Table { from: node_id(0) }, &[0]),
        operator("left", OperatorKind::Conv { source: node_id(1), residual: true, clamp: FREE }, &[0, 1]),
        operator("cat.input0", OperatorKind::Table { from: node_id(0) }, &[1]),
        operator("cat", OperatorKind::Plain(Plain::Concat), &[3, 2]),
        operator("pool", OperatorKind::Plain(Plain::GlobalSum), &[4]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_last_activation_keeps_codes() {
    let found =
        operators(&[("stem", conv(3, 3), &[0]), ("pool", Op::GlobalAveragePool, &[1]), ("relu", RELU, &[2])]);
    assert_eq!(found[1].1, OperatorKind::Plain(Plain::GlobalAveragePool));
    assert_eq!(found[2].1, OperatorKind::Table { from: node_id(2) });
}

#[test]
fn crossed_bounds_are_the_upper_one() {
    let found = operators(&[
        ("stem", conv(3, 3), &[0]),
        ("clip", Op::Unary(Unary::Clip(2.0, 1.0)), &[1]),
        ("head", conv(3, 2), &[2]),
    ]);
    assert_eq!(found[0].1, OperatorKind::Conv { source: node_id(1), residual: false, clamp: [1.0, 1.0] });
}

#[test]
fn what_integers_cannot_express_is_refused_by_name() {
    let refused = |nodes: &[(&str, Op, &[usize])]| Structure::new(&graph(nodes)).unwrap_err().to_string();
    let pad = crate::graph::Pad { before: [0; 3], after: [0, 1, 1], value: 0.5 };
    assert_eq!(
        refused(&[("half", Op::Pad(pad), &[0])]),
        "node 'half': Pad: padding with 0.5, not zero; pad with zeros when training"
    );
    let column = Op::Slice(Slice { start: [0; 3], end: [3, 4, 1], step: [1; 3] });
    let row = Op::Slice(Slice { start: [0; 3], end: [3, 1, 4], step: [1; 3] });
    let message = refused(&[("column", column, &[0]), ("row", row, &[0]), ("outer", mul(), &[1, 2])]);
    assert_eq!(
        message,
        "node 'outer': Mul: both operands would have to be broadcast; expand one of them to the shape of the result"
    );
}
